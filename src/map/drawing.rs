//! The map as SVG: nothing of a name is markup, and the page's style decides about colours. Pure.
//!
//! Each part of the map is a picture of its own, and a tall one is cut between rows into slices that stand on each other,
//! so that no box is cut in two where a page ends. The letters are all of one width, and each line is told its length:
//! no font makes a name longer than its box.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::fold::{Folded, Kind, Node};
use super::layout::{Part, Place, Route, layout};
use crate::html::escaped;

const FONT: f64 = 12.;
const LINE: f64 = 16.;
/// Of a letter of one width, and of one of two.
const LETTER: f64 = 7.3;
const MARGIN: f64 = 10.;
/// Between the rows: the lanes of arrows.
const LANE: f64 = 18.;
/// Between the columns.
const CHANNEL: f64 = 90.;
/// What fits on a printed page.
const ROWS_OF_A_SLICE: usize = 12;

/// The map for a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// An SVG for each part; a tall one is several.
    pub parts: Vec<Vec<String>>,
    /// What no arrow touches: kinds, with the names.
    pub alone: Vec<(String, Vec<String>)>,
    /// Boxes of several roles: what is written on it, and the names.
    pub folded: Vec<(String, Vec<String>)>,
}

pub fn draw(map: &Folded) -> Drawing {
    let (parts, alone) = layout(map);
    let nodes = |nodes: &[usize]| -> Vec<&Node> {
        nodes
            .iter()
            .filter_map(|&node| map.nodes.get(node))
            .collect()
    };
    let mut drawing = Drawing {
        parts: parts
            .iter()
            .map(|part| Canvas::of(map, part).slices())
            .collect(),
        ..Drawing::default()
    };
    for node in nodes(&alone) {
        drawing.alone.push((title(node), node.names.clone()));
    }
    let drawn: Vec<usize> = parts
        .iter()
        .flat_map(|part| part.boxes.iter().map(|one| one.node))
        .collect();
    for node in nodes(&drawn) {
        if node.names.len() > 1 {
            drawing.folded.push((title(node), node.names.clone()));
        }
    }
    drawing
}

/// The kind in words, of several with their number, and what is not as always.
fn title(node: &Node) -> String {
    let (one, several) = node.kind.words();
    let mut title = match node.names.len() {
        1 => one.to_owned(),
        many => format!("{many} {several}"),
    };
    if let Some(state) = node.state.as_deref().filter(|state| *state != "active") {
        let _ = write!(title, ", {state}");
    }
    if let Some(until) = &node.until {
        let word = if node.names.len() > 1 {
            "first ends"
        } else {
            "until"
        };
        let _ = write!(title, ", {word} {}Z", until.get(..16).unwrap_or(until));
    }
    title
}

/// What is written in a box: the first line is the heading.
fn lines(node: &Node) -> Vec<String> {
    const NAMES: usize = 2;
    const REACHES: usize = 2;
    let title = title(node);
    let mut lines = match node.names.as_slice() {
        [only] => vec![only.clone(), title],
        many => {
            let mut lines = vec![title];
            lines.extend(some(many, NAMES));
            lines
        }
    };
    lines.extend(some(&node.reaches, REACHES));
    lines
}

fn some(items: &[String], shown: usize) -> Vec<String> {
    let shown = if items.len() == shown + 1 {
        items.len()
    } else {
        shown
    };
    let mut lines: Vec<String> = items.iter().take(shown).cloned().collect();
    if items.len() > shown {
        lines.push(format!("and {} more", items.len() - shown));
    }
    lines
}

/// In widths of a letter: those of East Asia take two.
fn width(line: &str) -> f64 {
    let letters = line.chars().map(|letter| match u32::from(letter) {
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2.,
        _ => 1.,
    });
    letters.sum()
}

struct Canvas<'a> {
    map: &'a Folded,
    part: &'a Part,
    /// The left side and the width of each column.
    columns: Vec<(f64, f64)>,
    /// The height of a box.
    height: f64,
}

impl<'a> Canvas<'a> {
    fn of(map: &'a Folded, part: &'a Part) -> Self {
        let mut widths = vec![0_f64; part.columns];
        let mut most = 1;
        for one in &part.boxes {
            let lines = map.nodes.get(one.node).map(lines).unwrap_or_default();
            most = most.max(lines.len());
            if let Some(column) = widths.get_mut(one.column) {
                *column = lines
                    .iter()
                    .map(|line| width(line) * LETTER + 20.)
                    .fold(*column, f64::max);
            }
        }
        let mut left = MARGIN;
        let columns = widths
            .into_iter()
            .map(|width| {
                let column = (left, width);
                left += width + CHANNEL;
                column
            })
            .collect();
        Self {
            map,
            part,
            columns,
            height: most as f64 * LINE + 12.,
        }
    }

    fn pitch(&self) -> f64 {
        self.height + LANE
    }

    fn column(&self, column: usize) -> (f64, f64) {
        self.columns.get(column).copied().unwrap_or_default()
    }

    fn top(&self, row: usize) -> f64 {
        LANE + row as f64 * self.pitch()
    }

    fn slices(&self) -> Vec<String> {
        let right = self.columns.last().map_or(0., |(left, width)| left + width);
        let total = right + MARGIN;
        let mut slices = Vec::new();
        let mut first = 0;
        while first < self.part.rows {
            let after = self.part.rows.min(first + ROWS_OF_A_SLICE);
            // A lane belongs to the row below it; the last one has one more.
            let begin = self.top(first) - LANE;
            let mut end = self.top(after) - LANE;
            if after == self.part.rows {
                end += LANE;
            }
            slices.push(self.slice(first..after, begin, end, total));
            first = after;
        }
        slices
    }

    fn slice(&self, rows: std::ops::Range<usize>, begin: f64, end: f64, width: f64) -> String {
        let height = end - begin;
        let mut out = format!(
            "<svg class=\"map\" role=\"img\" aria-label=\"Part of the map of roles\" viewBox=\"0 {begin:.0} {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" xmlns=\"http://www.w3.org/2000/svg\">"
        );
        for route in &self.part.arrows {
            self.arrow(&mut out, route, begin, end);
        }
        for one in &self.part.boxes {
            if rows.contains(&one.row) {
                self.node(&mut out, one);
            }
        }
        out += "</svg>";
        out
    }

    fn node(&self, out: &mut String, place: &Place) {
        let Some(node) = self.map.nodes.get(place.node) else {
            return;
        };
        let (left, box_width) = self.column(place.column);
        let top = self.top(place.row);
        let radius = match node.kind {
            Kind::Scope | Kind::Group | Kind::Predefined => 3.,
            _ => 14.,
        };
        let _ = write!(
            out,
            "<g class=\"node {}\"><title>{}: {}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{box_width:.1}\" \
             height=\"{:.1}\" rx=\"{radius}\"/>",
            class(node.kind),
            escaped(&title(node)),
            escaped(&node.names.join(", ")),
            self.height
        );
        let lines = lines(node);
        let first = top + (self.height - lines.len() as f64 * LINE) / 2. + FONT;
        for (line, number) in lines.iter().zip(0..) {
            let heading = if number == 0 { " class=\"first\"" } else { "" };
            let _ = write!(
                out,
                "<text{heading} x=\"{:.1}\" y=\"{:.1}\" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\">{}</text>",
                left + box_width / 2.,
                first + f64::from(number) * LINE,
                width(line) * LETTER,
                escaped(line)
            );
        }
        *out += "</g>";
    }

    fn arrow(&self, out: &mut String, route: &Route, begin: f64, end: f64) {
        let middle = |place: &Place| self.top(place.row) + self.height / 2.;
        let backwards = route.to.column <= route.from.column;
        let (from, from_width) = self.column(route.from.column);
        let (mut x, mut y) = (from + from_width, middle(&route.from));
        let (mut lowest, mut highest) = (y, y);
        let mut path = format!("M{x:.1} {y:.1}");
        let mut curve = |to_x: f64, to_y: f64| {
            let half = (to_x - x) / 2.;
            let _ = write!(
                path,
                "C{:.1} {y:.1} {:.1} {to_y:.1} {to_x:.1} {to_y:.1}",
                x + half,
                to_x - half
            );
            lowest = lowest.min(to_y);
            highest = highest.max(to_y);
            (x, y) = (to_x, to_y);
        };
        for (column, &lane) in (route.from.column + 1..).zip(&route.lanes) {
            let (left, width) = self.column(column);
            // Arrows in one lane do not cover each other.
            let spread = (route.edge % 5) as f64 * 2. - 4.;
            let lane = self.top(lane) - LANE / 2. + spread;
            if !backwards {
                curve(left, lane);
                curve(left + width, lane);
            }
        }
        let (left, _) = self.column(route.to.column);
        curve(left - 7., middle(&route.to));
        let tip = y;
        if highest < begin || lowest > end {
            return;
        }
        let options = self
            .map
            .edges
            .get(route.edge)
            .map_or("", |edge| &edge.options);
        let kind = match options {
            "" => String::new(),
            words => words
                .split(", ")
                .map(|word| format!(" {}", word.to_ascii_lowercase().replace(' ', "-")))
                .collect(),
        };
        let note = match options {
            "" => String::new(),
            words => format!("<title>{}</title>", escaped(words)),
        };
        let _ = write!(
            out,
            "<path class=\"edge{kind}\" d=\"{path}\">{note}</path><path class=\"tip\" d=\"M{:.1} {:.1}L{left:.1} {tip:.1}L{:.1} {:.1}z\"/>",
            left - 8.,
            tip - 4.,
            left - 8.,
            tip + 4.,
        );
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Superuser => "superuser",
        Kind::Login => "login",
        Kind::Credential => "credential",
        Kind::Authenticator => "authenticator",
        Kind::Temporary => "temporary",
        Kind::Group => "group",
        Kind::Scope => "scope",
        Kind::Predefined => "predefined",
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::super::fold::Edge;
    use super::*;

    fn node(name: &str, kind: Kind) -> Node {
        Node {
            kind,
            names: vec![name.to_owned()],
            database: None,
            state: None,
            until: None,
            reaches: vec!["SELECT on table public.orders".to_owned()],
        }
    }

    #[test]
    fn drawing_holds_every_name_as_text() {
        let edge = |member, role, options: &str| Edge {
            member,
            role,
            options: options.to_owned(),
        };
        let map = Folded {
            nodes: vec![
                node("ana", Kind::Login),
                node("<script>\"&'", Kind::Scope),
                node("loop", Kind::Group),
                node("alone", Kind::Scope),
            ],
            // A circle, which PostgreSQL never has, must not hang either.
            edges: vec![edge(0, 1, "by token"), edge(1, 2, ""), edge(2, 0, "")],
        };
        let drawing = draw(&map);
        let svg = drawing.parts.concat().concat();
        assert!(svg.contains(">ana</text>") && svg.contains("edge by-token"));
        assert!(svg.contains("&lt;script&gt;&quot;&amp;&#39;") && !svg.contains("<script"));
        assert_eq!(svg.matches("<path class=\"edge").count(), 3, "{svg}");
        assert_eq!(
            drawing.alone,
            [("scope".to_owned(), vec!["alone".to_owned()])]
        );
        assert_eq!(draw(&Folded::default()), Drawing::default());
    }

    #[test]
    fn drawing_cuts_what_is_tall_between_rows() {
        let mut nodes = vec![node("all", Kind::Scope)];
        let mut edges = Vec::new();
        for login in 1..=100 {
            nodes.push(node(&format!("login_{login}"), Kind::Login));
            edges.push(Edge {
                member: login,
                role: 0,
                options: String::new(),
            });
        }
        let drawing = draw(&Folded { nodes, edges });
        let [slices] = drawing.parts.as_slice() else {
            panic!("{}", drawing.parts.len())
        };
        assert_eq!(slices.len(), 100_usize.div_ceil(ROWS_OF_A_SLICE));
        let boxes: usize = slices
            .iter()
            .map(|svg| svg.matches("<g class=\"node").count())
            .sum();
        assert_eq!(boxes, 101);
    }
}
