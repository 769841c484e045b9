//! The table: on the screen, as Markdown, as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::harness::{Bouncer, Session};
use crate::measure::Figures;
use crate::rows::Row;
use crate::scene::Scene;

/// Name and value of what figures depend on.
pub type About = Vec<(&'static str, String)>;

pub struct Report<'a> {
    about: &'a About,
    lines: Vec<[String; COLUMNS]>,
    notes: Vec<String>,
    missed: Vec<&'static str>,
    rows: Vec<Value>,
}

const COLUMNS: usize = 8;
const TITLES: [&str; COLUMNS] = [
    "row",
    "what",
    "peer",
    "ours",
    "peer's",
    "ratio (quartiles)",
    "target",
    "met",
];

pub fn about(scene: &Scene) -> About {
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
        ("peers", peers(&mut admin)),
    ]
}

/// What the rows and the curves compare with or need, and is not part of the server.
fn peers(admin: &mut Session) -> String {
    let extensions = ["pgaudit", "pgcrypto", "set_user"].map(|name| {
        let version = admin.column(&format!(
            "SELECT name || ' ' || default_version FROM pg_available_extensions WHERE name = '{name}'"
        ));
        version
            .into_iter()
            .next()
            .unwrap_or_else(|| format!("{name}: not there"))
    });
    let bouncer = Bouncer::version().unwrap_or_else(|| "PgBouncer: not there".into());
    let valgrind = match command("valgrind", &["--version"]) {
        unknown if unknown == UNKNOWN => "valgrind: not there".into(),
        version => version,
    };
    [extensions.join(", "), bouncer, valgrind].join(", ")
}

/// As the pages and the screen show it.
pub fn list(about: &About) -> String {
    about
        .iter()
        .map(|(name, value)| format!("- {name}: {value}\n"))
        .collect()
}

/// A page of the documentation.
pub fn write_page(name: &str, text: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::write(&page, text).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
}

impl<'a> Report<'a> {
    pub fn new(about: &'a About) -> Self {
        Report {
            about,
            lines: Vec::new(),
            notes: Vec::new(),
            missed: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, row: &Row, measured: Result<Figures, String>) {
        let target = format!("<= {:.4}", row.target);
        let target = target
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned();
        let mut met = false;
        let line = match measured {
            Ok(figures) => {
                let ratio = figures.ratio;
                met = ratio.middle <= row.target;
                self.rows.push(json!({
                    "name": row.name, "what": row.what, "peer": row.peer, "note": figures.note, "target": row.target, "met": met,
                    "unit": row.unit, "ours": figures.ours, "peer_figure": figures.peer,
                    "ratio": ratio.middle, "ratio_low": ratio.low, "ratio_high": ratio.high,
                }));
                if !figures.note.is_empty() {
                    self.notes.push(format!("`{}`: {}", row.name, figures.note));
                }
                [
                    format!("{:.2} {}", figures.ours, row.unit),
                    format!("{:.2} {}", figures.peer, row.unit),
                    format!("{:.3} ({:.3}..{:.3})", ratio.middle, ratio.low, ratio.high),
                ]
            }
            Err(reason) => {
                self.rows.push(json!({
                    "name": row.name, "what": row.what, "peer": row.peer, "target": row.target, "met": false,
                    "not_available": reason,
                }));
                self.notes
                    .push(format!("`{}`: not measured: {reason}", row.name));
                [(); 3].map(|()| String::from("-"))
            }
        };
        if !met {
            self.missed.push(row.name);
        }
        let [ours, peer, ratio] = line;
        self.lines.push([
            format!("`{}`", row.name),
            row.what.into(),
            row.peer.into(),
            ours,
            peer,
            ratio,
            target,
            if met { "yes" } else { "NO" }.into(),
        ]);
    }

    /// Prints and writes everything, of a whole run the page too; whether every target was met.
    pub fn finish(self, whole: bool) -> bool {
        let mut json = json!({ "rows": self.rows, "met": self.missed.is_empty() });
        for (name, value) in self.about {
            json[*name] = json!(value);
        }
        let folder =
            PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let text = self.text();
        let files = [
            ("bench.md", format!("# scope_roles: make bench\n\n{text}")),
            ("bench.json", format!("{json:#}\n")),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("the target folder");
        }
        if whole {
            write_page("benchmark.md", &format!("{PAGE}{text}"));
        }
        let mut out = std::io::stdout();
        let _ = writeln!(out, "\n{text}");
        let _ = writeln!(
            out,
            "also in {0}/bench.md and {0}/bench.json{1}",
            folder.display(),
            if whole {
                ", and in docs/benchmark.md"
            } else {
                ""
            }
        );
        self.missed.is_empty()
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n{}", list(self.about), self.table());
        let (all, missed) = (self.lines.len(), &self.missed);
        let _ = match missed.as_slice() {
            [] => writeln!(text, "\nAll {all} targets met."),
            _ => writeln!(
                text,
                "\n{} of {all} targets met. Missed: {}.",
                all - missed.len(),
                missed.join(", ")
            ),
        };
        if !self.notes.is_empty() {
            text += "\nNotes:\n\n";
            for note in &self.notes {
                let _ = writeln!(text, "- {note}");
            }
        }
        text
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

const PAGE: &str = "# What it costs\n\n\
    Written by `make bench`: the release build against what people use instead, in one server, in many short rounds that take turns. \
    Figures are medians; the ratio is ours to the peer's, the middle of groups of rounds, and between what half of the groups lie. Smaller \
    is better, and a row whose ratio is above its target says NO. Only Debian's PostgreSQL 15 has every peer. CI does not measure: it needs a \
    quiet machine. [How cost grows](curves.md) is the other half.\n\n";

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

const UNKNOWN: &str = "unknown";

fn command(name: &str, arguments: &[&str]) -> String {
    match Command::new(name).args(arguments).output() {
        Ok(done) => String::from_utf8_lossy(&done.stdout).trim().to_owned(),
        Err(_) => UNKNOWN.into(),
    }
}
