//! Doing it: each thing as the caller, by the function that is there for it, so that the caller's authority is asked as ever; in a
//! subtransaction of its own, so that one that fails takes nothing else with it.

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::step::{Does, NewLogin, Row, Step};
use crate::error;
use crate::pg::spi;
use crate::pg::xact::{self, Failure};
use crate::waiting;

/// How long one thing may wait for what others have locked.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// And all of them together.
const PATIENCE_OF_ALL: Duration = Duration::from_secs(20);
/// Each holds locks until the transaction ends, in a table of limited size.
const AT_ONCE: usize = 1_000;

/// What a call may still do.
pub struct Strength {
    until: Instant,
    left: usize,
}

impl Strength {
    pub fn whole() -> Self {
        Self {
            until: Instant::now() + PATIENCE_OF_ALL,
            left: AT_ONCE,
        }
    }

    fn patience(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.min(PATIENCE).max(waiting::patience())
    }
}

/// What would be done.
pub fn show(step: Step) -> Row {
    Row {
        detail: step.detail.clone(),
        step,
        done: false,
        new: None,
        is_locked: false,
    }
}

/// Does all of them, one after the other.
pub fn all(steps: Vec<Step>, strength: &mut Strength) -> Vec<Row> {
    steps.into_iter().map(|step| one(step, strength)).collect()
}

/// Does those once more that somebody's lock was in the way of.
pub fn again(rows: Vec<Row>, strength: &mut Strength) -> Vec<Row> {
    let mut once_more = |row: Row| match row.is_locked {
        true => one(row.step, strength),
        false => row,
    };
    rows.into_iter().map(&mut once_more).collect()
}

fn one(step: Step, strength: &mut Strength) -> Row {
    pgrx::check_for_interrupts!();
    let still = match &step.does {
        Does::Nothing => return show(step),
        Does::Rotates => None,
        Does::Runs { still } => still.as_ref(),
    };
    // Something before it has done it, too.
    let is_moot = still.is_some_and(|still| still().is_none());
    let outcome = if is_moot {
        Ok(None)
    } else if strength.left == 0 {
        let why = format!("one call does {AT_ONCE} things: call it again");
        return Row {
            detail: Some(why),
            ..show(step)
        };
    } else {
        strength.left -= 1;
        waiting::subtransaction_within(strength.patience(), || run(&step))
    };
    match outcome {
        Ok(new) => {
            let left = still.and_then(|still| still());
            Row {
                done: left.is_none(),
                detail: left.or_else(|| step.detail.clone()),
                new,
                ..show(step)
            }
        }
        Err(failure) => Row {
            detail: Some(words(&failure)),
            is_locked: failure.is_locked(),
            ..show(step)
        },
    }
}

fn run(step: &Step) -> Option<NewLogin> {
    if !matches!(step.does, Does::Rotates) {
        // Our own functions give way by themselves; PostgreSQL's statements do not.
        waiting::giving_way(|| xact::raised(spi::execute(&step.action)));
        return None;
    }
    let rows = xact::raised(spi::query(&step.action, &[], |row| {
        let text =
            |column| Ok::<_, pgrx::spi::Error>(row.get::<String>(column)?.unwrap_or_default());
        Ok(NewLogin {
            role: text(1)?,
            password: Zeroizing::new(text(2)?),
            uri: Zeroizing::new(text(3)?),
        })
    }));
    rows.into_iter().next()
}

fn words(failure: &Failure) -> String {
    let code = error::sqlstate(failure.code);
    let detail = failure.detail.as_ref();
    let detail = detail.map(|detail| format!(": {detail}"));
    format!("{} ({code}){}", failure.message, detail.unwrap_or_default())
}
