//! Counting the rows that a session returns, against the limits that hold for it.

use std::cell::RefCell;
use std::rc::Rc;

use super::alert::{self, Alert};
use super::effective::Effective;
use super::returned::{self, Limit, Taken};
use super::rule::Action;
use super::{Refusal, here};
use crate::error;
use crate::guc;
use crate::pg::clock;

/// One statement that returns rows.
struct Meter {
    effective: Rc<Effective>,
    limits: Vec<Limit>,
    /// Rows of this statement that have been returned before.
    used: u64,
    /// Rows that it has been allowed to return since; the caller counts them down.
    granted: u64,
    alerted: bool,
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// A statement begins to return rows, or goes on after so many. An earlier one that an error has ended
/// gives back `left`.
pub fn begin(used: u64, left: u64) {
    end(left);
    let effective = here();
    let limits = limits(&effective);
    let alerted = effective
        .statement_limit(Action::Alert)
        .is_some_and(|limit| used > limit.rows);
    METER.set(Some(Meter {
        effective,
        limits,
        used,
        granted: 0,
        alerted,
    }));
}

/// All that were granted have been returned: how many more may be? At least one; refused (54000)
/// otherwise.
pub fn more() -> u64 {
    let verdict = METER.with_borrow_mut(|meter| meter.as_mut().map(Meter::more));
    match verdict {
        None => u64::MAX,
        Some((alerts, Ok(rows))) => {
            alerts.iter().for_each(Passed::tell);
            rows
        }
        Some((alerts, Err(refusal))) => {
            alerts.iter().for_each(Passed::tell);
            error::raise(&refusal)
        }
    }
}

/// The statement has returned all but `left` of what it was granted; how many in all.
pub fn end(left: u64) -> u64 {
    let Some(meter) = METER.take() else {
        return 0;
    };
    if left > 0 && meter.granted > 0 && !meter.limits.is_empty() {
        returned::give_back(&meter.limits, left.min(meter.granted), clock::now());
    }
    meter.used + meter.granted.saturating_sub(left)
}

/// Rows that are ready to be returned, or have been: refused (54000) when they are too many and the
/// client does not have them yet.
pub fn count(used: u64, rows: u64) {
    for passed in passed(used, rows) {
        passed.tell();
        if passed.blocked {
            error::raise(&passed.refusal());
        }
    }
}

/// The same where no error can be raised. Told of once, because what is told is a message too.
pub fn lets_pass(used: u64, rows: u64) -> bool {
    let passed = passed(used, rows);
    let is_first = here()
        .statement_limit(Action::Block)
        .is_none_or(|limit| used <= limit.rows);
    if is_first {
        passed.iter().for_each(Passed::tell);
    }
    passed.iter().all(|passed| !passed.blocked)
}

/// The limits that are passed by these rows, the one that blocks last.
fn passed(used: u64, rows: u64) -> Vec<Passed> {
    let mut passed = Vec::new();
    if rows == 0 {
        return passed;
    }
    let effective = here();
    let total = used.saturating_add(rows);
    if let Some(limit) = effective.statement_limit(Action::Alert)
        && used <= limit.rows
        && total > limit.rows
    {
        passed.push(Passed::statement(limit.rows, &limit.of, false));
    }
    if let Some(limit) = effective.statement_limit(Action::Block)
        && total > limit.rows
    {
        passed.push(Passed::statement(limit.rows, &limit.of, true));
        return passed;
    }
    let limits = limits(&effective);
    if !limits.is_empty() {
        let over = returned::count(&limits, rows, clock::now());
        passed.extend(
            over.into_iter()
                .filter_map(|index| Passed::window(&effective, &limits, index)),
        );
    }
    passed
}

impl Meter {
    fn more(&mut self) -> (Vec<Passed>, Result<u64, Refusal>) {
        self.used = self.used.saturating_add(self.granted);
        self.granted = 0;
        let mut passed = Vec::new();
        let mut wanted = u64::MAX;
        if let Some(limit) = self.effective.statement_limit(Action::Alert)
            && !self.alerted
        {
            if self.used >= limit.rows {
                self.alerted = true;
                passed.push(Passed::statement(limit.rows, &limit.of, false));
            } else {
                wanted = wanted.min(limit.rows - self.used);
            }
        }
        if let Some(limit) = self.effective.statement_limit(Action::Block) {
            if self.used >= limit.rows {
                let refusal = Passed::statement(limit.rows, &limit.of, true);
                let error = refusal.refusal();
                passed.push(refusal);
                return (passed, Err(error));
            }
            wanted = wanted.min(limit.rows - self.used);
        }
        if self.limits.is_empty() {
            self.granted = wanted;
            return (passed, Ok(wanted));
        }
        match returned::take(&self.limits, wanted, clock::now()) {
            Taken::Some { rows, passed: over } => {
                self.granted = rows;
                passed.extend(
                    over.into_iter()
                        .filter_map(|index| Passed::window(&self.effective, &self.limits, index)),
                );
                (passed, Ok(rows))
            }
            Taken::Nothing { limit } => {
                match Passed::window(&self.effective, &self.limits, limit) {
                    Some(over) => {
                        let refusal = over.refusal();
                        passed.push(over);
                        (passed, Err(refusal))
                    }
                    None => (passed, Ok(1)),
                }
            }
        }
    }
}

/// Of the windows, and of the setting for roles that only read, which comes last.
fn limits(effective: &Effective) -> Vec<Limit> {
    let mut limits: Vec<Limit> = effective
        .windows
        .iter()
        .map(|window| Limit {
            role: window.role,
            seconds: window.seconds,
            rows: window.rows,
            blocks: window.action == Action::Block,
            kind: 0,
        })
        .collect();
    if let (Some(role), Some(rows)) = (&effective.read_only, guc::export_alert_rows()) {
        limits.push(Limit {
            role: role.oid,
            seconds: guc::export_alert_window(),
            rows,
            blocks: false,
            kind: 1,
        });
    }
    limits
}

/// A limit that has been passed.
struct Passed {
    guard: &'static str,
    blocked: bool,
    rows: u64,
    seconds: Option<i64>,
    of: String,
}

impl Passed {
    fn statement(rows: u64, of: &str, blocked: bool) -> Self {
        Self {
            guard: "max_rows",
            blocked,
            rows,
            seconds: None,
            of: of.to_owned(),
        }
    }

    fn window(effective: &Effective, limits: &[Limit], index: usize) -> Option<Self> {
        let limit = limits.get(index)?;
        let (guard, of) = match effective.windows.get(index) {
            Some(window) => ("window_rows", window.of.clone()),
            None => ("export_rows", effective.read_only.as_ref()?.name.clone()),
        };
        Some(Self {
            guard,
            blocked: limit.blocks,
            rows: limit.rows,
            seconds: Some(limit.seconds),
            of,
        })
    }

    fn tell(&self) {
        alert::raise(&Alert {
            guard: self.guard,
            blocked: self.blocked,
            of: &self.of,
            tag: None,
            rows: Some(self.rows),
            seconds: self.seconds,
        });
    }

    fn refusal(&self) -> Refusal {
        let (rows, of) = (self.rows, self.of.clone());
        match self.seconds {
            None => Refusal::Rows { rows, of },
            Some(seconds) => Refusal::Window { rows, seconds, of },
        }
    }
}
