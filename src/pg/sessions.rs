//! Finding and ending the sessions of a role, by OID, from any process and without a database.

use pgrx::pg_sys;

/// The processes that logged in as a role that `wanted` says yes to, with that role.
pub fn of_roles(wanted: impl Fn(pg_sys::Oid) -> bool) -> Vec<(i32, pg_sys::Oid)> {
    let mut found = Vec::new();
    // SAFETY: allProcs is an array of allProcCount slots in shared memory that lives as long as
    // the server; a slot's pid and role are plain words, and a torn pair only means one more scan.
    unsafe {
        let header = &*pg_sys::ProcGlobal;
        for index in 0..header.allProcCount as usize {
            let process = header.allProcs.add(index);
            let pid = std::ptr::read_volatile(&raw const (*process).pid);
            let role = std::ptr::read_volatile(&raw const (*process).roleId);
            if pid == 0 || pid == pg_sys::MyProcPid || !wanted(role) {
                continue;
            }
            // A slot keeps the pid of a process that has ended, which may be anybody's by now.
            if pg_sys::BackendPidGetProc(pid) == process {
                found.push((pid, role));
            }
        }
    }
    found
}

/// Asks a session to end, as `pg_terminate_backend` does.
pub fn terminate(pid: i32) {
    // SAFETY: kill() has no memory effects. Each backend leads a process group (programs that it
    // runs are in it); a pid that is gone is no error for us.
    unsafe {
        if libc::kill(-pid, libc::SIGTERM) != 0 {
            libc::kill(pid, libc::SIGTERM);
        }
    }
}

/// Sets the latch of a process, if it is still there.
pub fn wake(pid: i32) {
    // SAFETY: BackendPidGetProc answers NULL for a process that is gone; a latch in shared memory
    // may be set at any time, at worst that of the slot's next user, who ignores it.
    unsafe {
        let process = pg_sys::BackendPidGetProc(pid);
        if !process.is_null() {
            pg_sys::SetLatch(&raw mut (*process).procLatch);
        }
    }
}

/// Has a session take in what others have committed: in a transaction of its own as soon as it is idle, as PostgreSQL has those do that
/// lag far behind (storage/ipc/sinval.c).
pub fn catch_up(pid: i32) {
    let reason = pg_sys::ProcSignalReason::PROCSIG_CATCHUP_INTERRUPT;
    // SAFETY: a process that is gone is found in no slot; -1 is that of no backend in particular.
    unsafe { pg_sys::SendProcSignal(pid, reason, -1) };
}
