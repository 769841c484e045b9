//! Work in a process of its own, forked from a background worker: whatever becomes of it, a crash included, the server goes on. It has no
//! part in the server: no shared memory, no files, no signal handlers, and ends with the process that made it.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where the child leaves its answer: a length, then as many bytes.
struct Area {
    start: *mut u8,
    size: usize,
}

const LENGTH: usize = size_of::<usize>();

impl Area {
    fn new(size: usize) -> Option<Self> {
        let size = size.checked_add(LENGTH)?;
        // SAFETY: a new mapping, filled with zeros.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        (start != libc::MAP_FAILED).then(|| Self {
            start: start.cast(),
            size,
        })
    }

    /// In the child. What does not fit is no answer.
    fn write(&self, answer: &[u8]) -> bool {
        if answer.len() > self.size - LENGTH {
            return false;
        }
        // SAFETY: it fits, and nobody reads before this process has ended.
        unsafe {
            std::ptr::copy_nonoverlapping(answer.as_ptr(), self.start.add(LENGTH), answer.len());
            self.start.cast::<usize>().write_unaligned(answer.len());
        }
        true
    }

    /// When the child has ended.
    fn read(&self) -> Option<Vec<u8>> {
        // SAFETY: within the mapping, which nobody else writes any more; the length is checked.
        unsafe {
            let length = self.start.cast::<usize>().read_unaligned();
            if length > self.size - LENGTH {
                return None;
            }
            Some(std::slice::from_raw_parts(self.start.add(LENGTH), length).to_vec())
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped by us, once.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}

/// A process at work; it is killed when this is dropped.
pub struct Child {
    pid: i32,
    area: Area,
    has_ended: bool,
}

/// What a child has come to.
pub enum Ended {
    Answer(Vec<u8>),
    /// It was killed, or crashed.
    Nothing,
}

impl Child {
    /// Runs `work`, which touches nothing of PostgreSQL's, and gives out its answer of at most `size` bytes. `None`: there is no process
    /// or no memory for it.
    pub fn start(size: usize, work: impl FnOnce() -> Vec<u8>) -> Option<Self> {
        let area = Area::new(size)?;
        // SAFETY: a background worker has one thread, so that the child may do what it likes; signals wait until it has dropped the
        // handlers of PostgreSQL. It leaves by _exit alone, past all that a backend does at its end.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &all, &mut before);
            let parent = libc::getpid();
            let pid = libc::fork();
            if pid == 0 {
                stand_alone(parent);
                let answer = catch_unwind(AssertUnwindSafe(work));
                let is_told = answer.is_ok_and(|answer| area.write(&answer));
                libc::_exit(i32::from(!is_told));
            }
            libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
            (pid > 0).then_some(Self {
                pid,
                area,
                has_ended: false,
            })
        }
    }

    /// `None` while it is at work.
    pub fn ended(&mut self) -> Option<Ended> {
        let mut status = 0;
        // SAFETY: our own child, waited for once.
        let found = unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) };
        if found == 0 {
            return None;
        }
        self.has_ended = true;
        let is_whole =
            found == self.pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        Some(match self.area.read().filter(|_| is_whole) {
            Some(answer) => Ended::Answer(answer),
            None => Ended::Nothing,
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // SAFETY: our own child, not waited for yet, so that the number is still its.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            let mut status = 0;
            while libc::waitpid(self.pid, &mut status, 0) < 0
                && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
            {
            }
        }
    }
}

/// Takes the new process out of the server.
///
/// # Safety
/// In a process that has just been forked, with all signals blocked.
unsafe fn stand_alone(parent: i32) {
    unsafe extern "C-unwind" {
        // storage/pg_shmem.h
        fn PGSharedMemoryDetach();
    }
    // SAFETY: by contract. Nothing of PostgreSQL's is called afterwards.
    unsafe {
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        // The server is not to find it attached when it starts again, and a fault in it finds nothing to break.
        PGSharedMemoryDetach();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        for standard in 0..3 {
            libc::dup2(null, standard);
        }
        #[cfg(target_os = "linux")]
        let closed = libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) == 0;
        #[cfg(not(target_os = "linux"))]
        let closed = false;
        if !closed {
            let most = libc::sysconf(libc::_SC_OPEN_MAX).clamp(3, 65_536);
            for file in 3..i32::try_from(most).unwrap_or(1_024) {
                libc::close(file);
            }
        }
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        libc::sigprocmask(libc::SIG_SETMASK, &signals, std::ptr::null_mut());
    }
}
