//! Medians, spreads, and sides that take turns.

use std::process::Command;

use crate::cluster::harness::Server;

/// What one row found, in its unit.
pub struct Figures {
    pub ours: f64,
    pub peer: f64,
    pub ratio: Spread,
    /// More that the reader of a row may want to know.
    pub note: String,
}

impl Figures {
    pub fn with_note(self, note: String) -> Figures {
        Figures { note, ..self }
    }
}

/// The middle of the groups' ratios, and between what half of them lie.
#[derive(Clone, Copy)]
pub struct Spread {
    pub middle: f64,
    pub low: f64,
    pub high: f64,
}

/// Runs every side once a round, each round beginning with another side, so that a slow moment of the machine meets all of them.
/// The answer has one row a round and one column a side. The first round only warms up.
///
/// Many short rounds are better than a few long ones: what else the machine does then spoils some of them, and medians forget those.
pub fn in_turns<const SIDES: usize>(
    rounds: usize,
    mut run: impl FnMut(usize, usize) -> f64,
) -> Vec<[f64; SIDES]> {
    let mut all = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let mut times = [0.0; SIDES];
        for turn in 0..SIDES {
            let side = (round + turn) % SIDES;
            times[side] = run(round, side);
        }
        if round > 0 {
            all.push(times);
        }
    }
    all
}

/// Compares what `ours` and `peer` make of the sides' medians. Medians come first and differences second: a difference of two times
/// from one bad round can be anything. Each group of neighbouring rounds has its own ratio: a machine that changes its speed half-way
/// would otherwise lend one side its fast half and the other its slow one.
pub fn compare<const SIDES: usize>(
    rounds: &[[f64; SIDES]],
    ours: impl Fn(&[f64; SIDES]) -> f64,
    peer: impl Fn(&[f64; SIDES]) -> f64,
) -> Figures {
    let all = medians(rounds);
    let groups = rounds.chunks(rounds.len().div_ceil(GROUPS)).map(medians);
    let mut ratios: Vec<f64> = groups.map(|times| ours(&times) / peer(&times)).collect();
    Figures {
        ours: ours(&all),
        peer: peer(&all),
        ratio: Spread {
            middle: quantile(&mut ratios, 0.5),
            low: quantile(&mut ratios, 0.25),
            high: quantile(&mut ratios, 0.75),
        },
        note: String::new(),
    }
}

/// Against what may be spent: each time by itself, because that is what someone waits for.
pub fn within(budget: f64, times: &[f64]) -> Figures {
    let mut ratios: Vec<f64> = times.iter().map(|time| time / budget).collect();
    Figures {
        ours: quantile(&mut times.to_vec(), 0.5),
        peer: budget,
        ratio: Spread {
            middle: quantile(&mut ratios, 0.5),
            low: quantile(&mut ratios, 0.25),
            high: quantile(&mut ratios, 0.75),
        },
        note: String::new(),
    }
}

/// How many groups of neighbouring rounds [`compare`] makes.
pub const GROUPS: usize = 15;

/// While it lives, the benchmark, what it starts, and the servers' new sessions share one processor. A client and its session take
/// turns anyway, and waking another processor can cost more than what a row measures, and differs from one moment to the next.
pub struct OneProcessor(Vec<(String, String)>);

impl OneProcessor {
    pub fn of(servers: &[&Server]) -> OneProcessor {
        let servers = servers.iter().map(|server| server.pid());
        let pinned = std::iter::once(std::process::id().to_string()).chain(servers);
        OneProcessor(
            pinned
                .filter_map(|pid| {
                    let before = processors(&["-p", &pid])?;
                    processors(&["-p", "0", &pid])?;
                    Some((pid, before))
                })
                .collect(),
        )
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        for (pid, before) in &self.0 {
            processors(&["-p", before, pid]);
        }
    }
}

/// The list that `taskset` tells of; `None` where it cannot be had: the row is then measured as it comes.
fn processors(arguments: &[&str]) -> Option<String> {
    let mut taskset = Command::new("taskset");
    let told = taskset.args(["-a", "-c"]).args(arguments).output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    Some(told.lines().last()?.rsplit(": ").next()?.to_owned())
}

fn medians<const SIDES: usize>(rounds: &[[f64; SIDES]]) -> [f64; SIDES] {
    std::array::from_fn(|side| {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[side]).collect();
        quantile(&mut times, 0.5)
    })
}

pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * (values.len() - 1) as f64;
    let (below, above) = (
        values[place.floor() as usize],
        values[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}
