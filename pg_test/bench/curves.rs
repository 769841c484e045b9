//! The end of `make bench`, and `make curves` alone: how cost grows with roles, clients and tokens. The tables and the plot go to
//! docs/curves.md and docs/curves.svg.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::harness::{
    Bouncer, Fixture, Options, Server, Session, crowd, literal, now, output, sign,
};
use crate::measure::{in_turns, quantile};
use crate::report::{About, list, write_page};
use crate::scene::{DATABASE, LOGIN, Loop, Scene, array};
use crate::tokens::{Family, ROLE};

/// One plot and one table: a column for each line.
struct Curve {
    title: &'static str,
    /// What grows.
    along: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
    remark: &'static str,
}

struct Line {
    name: &'static str,
    points: Vec<(u32, f64)>,
}

impl Curve {
    fn new<const LINES: usize>(
        [title, along, unit, remark]: [&'static str; 4],
        names: [&'static str; LINES],
    ) -> Curve {
        let line = |name| Line {
            name,
            points: Vec::new(),
        };
        Curve {
            title,
            along,
            unit,
            lines: names.map(line).into(),
            remark,
        }
    }

    fn add<const LINES: usize>(&mut self, x: u32, values: [f64; LINES]) {
        let shown: Vec<String> = values.iter().map(|value| figure(*value)).collect();
        eprintln!("    {} {x}: {} {}", self.along, shown.join(", "), self.unit);
        for (line, value) in self.lines.iter_mut().zip(values) {
            line.points.push((x, value));
        }
    }
}

/// Whether all of them could be drawn. Without PgBouncer one is left out, and said to be; where `WITHOUT_PGBOUNCER` is set that is
/// as it should be.
pub fn draw(scene: &Scene, about: &About) -> bool {
    let mut curves = vec![roles()];
    let clients = clients(scene);
    curves.extend(clients);
    curves.push(tokens(scene));
    let all = curves.len() == 3;
    let page = page(about, &curves, all);
    write_page("curves.md", &page);
    write_page("curves.svg", &plot(&curves));
    let _ = writeln!(std::io::stdout(), "{page}");
    if !all {
        eprintln!("    the curve of clients is left out: there is no PgBouncer");
    }
    all || std::env::var("WITHOUT_PGBOUNCER").is_ok_and(|set| !set.is_empty())
}

// ---- what is measured ----------------------------------------------------------------------------------------------

/// On a server that waits for its disk, as one in use does.
fn roles() -> Curve {
    const STEPS: [u32; 4] = [100, 1_000, 10_000, 100_000];
    let mut curve = Curve::new(
        [
            "Managed roles",
            "managed roles",
            "ms",
            "Login: a connection by socket. Issue: `scope.create_readonly_role`. Next deadline: the worker's reading of all deadlines, \
             as `scope.expire_roles()` when nobody is due. Expiry: from the deadline of an idle session's login until its role is dropped.",
        ],
        ["login", "issue", "next deadline", "expiry"],
    );
    let server = Server::start(
        Options::durable()
            .set("shared_buffers", "256MB")
            .set("autovacuum", "off"),
    );
    let f = Fixture::on(&server, DATABASE);
    let mut admin = f.admin();
    let model = admin.issue("'orders'").role;
    let mut there = 0;
    for count in STEPS {
        crowd(
            &mut admin,
            &model,
            &format!("of_{count}"),
            count - there,
            "now() + interval '30 days'",
        );
        there = count;
        let mut login: Vec<f64> = (0..100)
            .map(|i| {
                let role = format!("of_{count}_{}", i % 50 + 1);
                milliseconds(|| drop(server.login(&role, DATABASE)))
            })
            .collect();
        let mut issue: Vec<f64> = (0..60)
            .map(|_| milliseconds(|| admin.run("SELECT scope.create_readonly_role('orders')")))
            .collect();
        let mut next: Vec<f64> = (0..15)
            .map(|_| milliseconds(|| admin.run("SELECT * FROM scope.expire_roles()")))
            .collect();
        let mut expiry: Vec<f64> = (0..9).map(|_| until_gone(&server, &mut admin)).collect();
        curve.add(
            count,
            [&mut login, &mut issue, &mut next, &mut expiry].map(|times| quantile(times, 0.5)),
        );
    }
    curve
}

fn until_gone(server: &Server, admin: &mut Session) -> f64 {
    let due = admin.issue("'orders', valid_for => '700 milliseconds'");
    let _session = server.login(&due.role, DATABASE);
    let there = format!(
        "SELECT extract(epoch FROM clock_timestamp() - {}::timestamptz) * 1000, EXISTS (SELECT FROM pg_roles WHERE rolname = {})",
        literal(&due.valid_until),
        literal(&due.role)
    );
    let started = Instant::now();
    loop {
        let rows = admin.rows(&there);
        let late: f64 = rows[0][0]
            .as_deref()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        if rows[0][1].as_deref() == Some("f") {
            return late;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} stays",
            due.role
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Transactions of three statements through PgBouncer in transaction mode, which has 16 connections for all clients. `None` without
/// PgBouncer.
fn clients(scene: &Scene) -> Option<Curve> {
    const CONNECTIONS: u32 = 16;
    let mut curve = Curve::new(
        [
            "Clients that switch roles, through PgBouncer",
            "clients",
            "transactions/s",
            "A transaction switches the role and reads a row. PgBouncer has 16 server connections, in transaction mode; pgbench, \
             PgBouncer and the server share the machine. The peer switches by `set_config` of the role and of the claims.",
        ],
        ["scope.set_jwt_role", "set_config, no token"],
    );
    let api = "curves_api";
    let mut admin = scene.admin();
    admin.run(&format!(
        "SELECT scope.create_authenticator('{api}', '{{{ROLE}}}');
         GRANT SELECT ON orders TO {ROLE}"
    ));
    scene.trust_secret();
    let bouncer = Bouncer::pooling(&scene.server, "curves", &[api, LOGIN], CONNECTIONS)?;
    let claims = json!({"role": ROLE, "sub": "6f1c2c8e", "exp": now() + 7_200});
    let read = "SELECT note FROM orders LIMIT 1;\nCOMMIT;\n";
    let scripts = [
        (
            api,
            format!(
                "BEGIN;\nSELECT scope.set_jwt_role('{}');\n{read}",
                sign(&claims)
            ),
        ),
        (
            LOGIN,
            format!(
                "BEGIN;\nSELECT set_config('role', '{ROLE}', true), set_config('request.jwt.claims', '{claims}', true);\n{read}"
            ),
        ),
    ];
    for count in [1_u32, 2, 4, 8, 16, 32, 64] {
        let rounds = in_turns::<2>(5, |_, side| {
            let (login, script) = &scripts[side];
            let file = bouncer.folder().join("script.sql");
            std::fs::write(&file, script).expect("a script");
            let report = output(
                bouncer
                    .client(&scene.server, "pgbench", login)
                    .args(["--no-vacuum", "--time=2", "--jobs=2"])
                    .arg(format!("--client={count}"))
                    .arg("--file")
                    .arg(&file)
                    .arg(DATABASE),
            );
            let rate = report
                .lines()
                .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
            rate.and_then(|rate| rate.parse().ok()).expect("a rate")
        });
        curve.add(count, medians(&rounds));
    }
    Some(curve)
}

/// RS256 tokens in turn, after each has been seen once; the cache keeps 1,000.
fn tokens(scene: &Scene) -> Curve {
    const CALLS: usize = 3_000;
    let mut curve = Curve::new(
        [
            "Distinct tokens in one session",
            "distinct RS256 tokens",
            "µs",
            "A switch, in a loop in the server, with the tokens one after the other; each has been seen before. \
             `scope_roles.jwt_cache_size` is 1000: beyond it the session has forgotten a token when it comes again. \
             The peer: `set_config` of the role and of the claims.",
        ],
        ["scope.set_jwt_role", "set_config, no token"],
    );
    scene.trust_key_set();
    let payload = scene.keys.payload();
    let mut runner = scene.login();
    for count in [1_u32, 10, 100, 300, 1_000, 3_000] {
        let distinct = scene.keys.tokens(Family::Rs256, count as usize);
        let texts = || distinct.iter().map(|token| token.text.as_str());
        let tokens = array(texts().cycle().take(CALLS));
        runner.check(
            Loop::Switch,
            &array(texts().take(1)),
            &distinct_payload(&distinct[0].message),
        );
        runner.run(Loop::Switch, &array(texts()), &payload);
        let sides = [Loop::Empty, Loop::Switch, Loop::Pair];
        let rounds = in_turns::<3>(15, |_, side| runner.run(sides[side], &tokens, &payload));
        let [empty, ours, pair] = medians(&rounds);
        curve.add(count, [ours - empty, pair - empty]);
    }
    curve
}

fn distinct_payload(message: &str) -> String {
    use base64::Engine;
    let payload = message.rsplit('.').next().unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    String::from_utf8(bytes.expect("base64url")).expect("UTF-8")
}

fn medians<const SIDES: usize>(rounds: &[[f64; SIDES]]) -> [f64; SIDES] {
    std::array::from_fn(|side| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[side]).collect();
        quantile(&mut values, 0.5)
    })
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64() * 1e3
}

// ---- what becomes of it --------------------------------------------------------------------------------------------

fn figure(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn page(about: &About, curves: &[Curve], all: bool) -> String {
    let mut page = format!(
        "# How cost grows\n\nWritten by `make bench`, or `make curves` alone. Medians; both axes of the plots are logarithmic.\n\n{}",
        list(about)
    );
    if !all {
        page +=
            "\n**Not measured: clients through PgBouncer, which this machine does not have.**\n";
    }
    page += "\n![the curves](curves.svg)\n";
    for curve in curves {
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n| {} |",
            curve.title, curve.remark, curve.along
        );
        for line in &curve.lines {
            let _ = write!(page, " {}, {} |", line.name, curve.unit);
        }
        page += "\n|";
        page += &" ---: |".repeat(curve.lines.len() + 1);
        page += "\n";
        for (row, (x, _)) in curve.lines[0].points.iter().enumerate() {
            let _ = write!(page, "| {x} |");
            for line in &curve.lines {
                let _ = write!(page, " {} |", figure(line.points[row].1));
            }
            page += "\n";
        }
    }
    page
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 45.0;
/// Told apart by those who see few colours too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

fn plot(curves: &[Curve]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        HEIGHT * curves.len() as f64
    );
    for (index, curve) in curves.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<g transform=\"translate(0 {})\">",
            HEIGHT * index as f64
        );
        svg += &panel(curve);
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

fn panel(curve: &Curve) -> String {
    let points = || curve.lines.iter().flat_map(|line| &line.points);
    let decades = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        (low, high.max(low + 1.0))
    };
    let (x_low, x_high) = decades(points().map(|(x, _)| f64::from(*x)).collect());
    let (y_low, y_high) = decades(points().map(|(_, y)| *y).collect());
    let at_x = |x: f64| LEFT + (x.log10() - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
    let at_y =
        |y: f64| HEIGHT - BOTTOM - (y.log10() - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}, {}</text>\n\
         <text x=\"{LEFT}\" y=\"{}\">{}</text>\n",
        curve.title,
        curve.unit,
        HEIGHT - 8.0,
        curve.along
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for exponent in x_low as i32..=x_high as i32 {
        let value = 10_f64.powi(exponent);
        let x = at_x(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
            bottom + 16.0
        );
    }
    for exponent in y_low as i32..=y_high as i32 {
        let value = 10_f64.powi(exponent);
        let y = at_y(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    for (index, (line, colour)) in curve.lines.iter().zip(COLOURS).enumerate() {
        let places: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|(x, y)| (at_x(f64::from(*x)), at_y(*y)))
            .collect();
        let path: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for (x, y) in &places {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        let y = TOP + 12.0 + 20.0 * index as f64;
        let _ = writeln!(
            svg,
            "<path d=\"M{} {}h18\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{y}\">{}</text>",
            right + 12.0,
            y - 4.0,
            right + 36.0,
            line.name
        );
    }
    svg
}
