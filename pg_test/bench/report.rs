//! The table: on the screen, as Markdown, as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::measure::Figures;
use crate::rows::Row;
use crate::scene::Scene;

pub struct Report {
    about: Vec<(&'static str, String)>,
    lines: Vec<[String; 7]>,
    rows: Vec<Value>,
    all_met: bool,
}

const TITLES: [&str; 7] = [
    "what",
    "peer",
    "ours",
    "peer",
    "ratio (quartiles)",
    "target",
    "met",
];

/// Name and value of what figures depend on.
pub fn about(scene: &Scene) -> Vec<(&'static str, String)> {
    let mut admin = scene.admin();
    vec![
            ("date", command("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("machine", machine()),
            ("system", command("uname", &["-srm"])),
            ("server", admin.text("SELECT version()")),
            (
                "extension",
                admin.text("SELECT 'scope_roles ' || extversion FROM pg_extension WHERE extname = 'scope_roles'"),
            ),
            ("compiler", command("rustc", &["--version"])),
    ]
}

impl Report {
    pub fn new(scene: &Scene) -> Report {
        Report {
            about: about(scene),
            lines: Vec::new(),
            rows: Vec::new(),
            all_met: true,
        }
    }

    pub fn add(&mut self, row: &Row, measured: Result<Figures, String>) {
        let target = format!("<= {:.4}", row.target);
        let target = target
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned();
        let (line, value) = match measured {
            Ok(figures) => {
                let met = figures.ratio.middle <= row.target;
                self.all_met &= met;
                let ratio = figures.ratio;
                let mut what = row.what.to_owned();
                if !figures.note.is_empty() {
                    let _ = write!(what, " ({})", figures.note);
                }
                (
                    [
                        what,
                        row.peer.into(),
                        format!("{:.2} {}", figures.ours, row.unit),
                        format!("{:.2} {}", figures.peer, row.unit),
                        format!("{:.3} ({:.3}..{:.3})", ratio.middle, ratio.low, ratio.high),
                        target,
                        if met { "yes" } else { "NO" }.into(),
                    ],
                    json!({
                        "name": row.name, "what": row.what, "peer": row.peer, "note": figures.note, "target": row.target, "met": met,
                        "unit": row.unit, "ours": figures.ours, "peer": figures.peer,
                        "ratio": ratio.middle, "ratio_low": ratio.low, "ratio_high": ratio.high,
                    }),
                )
            }
            Err(reason) => {
                self.all_met = false;
                let missing = || String::from("-");
                (
                    [
                        format!("{} (not available: {reason})", row.what),
                        row.peer.into(),
                        missing(),
                        missing(),
                        missing(),
                        target,
                        "NO".into(),
                    ],
                    json!({
                        "name": row.name, "what": row.what, "peer": row.peer, "target": row.target, "met": false,
                        "not_available": reason,
                    }),
                )
            }
        };
        self.lines.push(line);
        self.rows.push(value);
    }

    /// Prints and writes everything; whether every target was met.
    pub fn finish(self) -> bool {
        let table = self.table();
        let about: String = self
            .about
            .iter()
            .map(|(name, value)| format!("- {name}: {value}\n"))
            .collect();
        let mut json = json!({ "rows": self.rows, "met": self.all_met });
        for (name, value) in &self.about {
            json[*name] = json!(value);
        }
        let folder =
            PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let files = [
            (
                "bench.md",
                format!("# scope_roles: make bench\n\n{about}\n{table}"),
            ),
            ("bench.json", format!("{json:#}\n")),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("the target folder");
        }
        let mut out = std::io::stdout();
        let _ = writeln!(out, "\n{about}\n{table}");
        let _ = writeln!(
            out,
            "also in {0}/bench.md and {0}/bench.json",
            folder.display()
        );
        self.all_met
    }

    fn table(&self) -> String {
        let widths: Vec<usize> = (0..TITLES.len())
            .map(|column| {
                let cells = self.lines.iter().map(|line| line[column].chars().count());
                cells
                    .chain([TITLES[column].chars().count()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let row = |cells: &[String]| {
            let cells: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"))
                .collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut table = row(&TITLES.map(String::from));
        table += &row(&widths
            .iter()
            .map(|&width| "-".repeat(width))
            .collect::<Vec<_>>());
        for line in &self.lines {
            table += &row(line);
        }
        table
    }
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // A busy machine explains a wide spread.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{model}, {cores} cores, load {load}")
}

fn command(name: &str, arguments: &[&str]) -> String {
    match Command::new(name).args(arguments).output() {
        Ok(done) => String::from_utf8_lossy(&done.stdout).trim().to_owned(),
        Err(_) => "unknown".into(),
    }
}
