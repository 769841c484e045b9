//! The map as SVG: placed by a library, drawn by us, so that nothing of a name is markup and the page's
//! style decides about colours. Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::format::{ClipHandle, RenderBackend};
use layout::core::geometry::Point;
use layout::core::style::{LineStyleKind, StyleAttr};
use layout::std_shapes::shapes::{Arrow, Element, LineEndKind, ShapeKind};
use layout::topo::layout::VisualGraph;

use super::fold::{Folded, Kind};

const FONT: usize = 12;
const LINE: f64 = 16.;
/// The width of most letters.
const LETTER: f64 = 6.8;

/// `None` for an empty map, and should the library fail.
pub fn svg(map: &Folded) -> Option<String> {
    if map.nodes.is_empty() {
        return None;
    }
    catch_unwind(AssertUnwindSafe(|| draw(map))).ok()
}

fn draw(map: &Folded) -> String {
    let mut graph = VisualGraph::new(Orientation::LeftToRight);
    let color = Color::fast("black");
    let look = StyleAttr::new(color, 1, None, 0, FONT);
    let handles: Vec<_> = map
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let lines = node.lines();
            let longest = lines.iter().map(|line| line.chars().count()).max();
            let width = longest.unwrap_or(1) as f64 * LETTER + 24.;
            let height = lines.len() as f64 * LINE + 14.;
            graph.add_node(Element::create_with_properties(
                ShapeKind::Box(String::new()),
                look.clone(),
                Orientation::LeftToRight,
                Point::new(width, height),
                index.to_string(),
            ))
        })
        .collect();
    for edge in &map.edges {
        let (Some(member), Some(role)) = (handles.get(edge.member), handles.get(edge.role)) else {
            continue;
        };
        let style = if edge.options.is_empty() {
            LineStyleKind::Normal
        } else {
            LineStyleKind::Dashed
        };
        let (start, end) = (LineEndKind::None, LineEndKind::Arrow);
        let arrow = Arrow::new(start, end, style, &edge.options, &look, &None, &None);
        graph.add_edge(arrow, *member, *role);
    }
    let mut canvas = Canvas {
        map,
        shapes: String::new(),
        arrows: String::new(),
        extent: Point::new(0., 0.),
        in_node: false,
    };
    graph.do_it(false, false, false, &mut canvas);
    canvas.finish()
}

struct Canvas<'a> {
    map: &'a Folded,
    shapes: String,
    arrows: String,
    extent: Point,
    /// The next text is the library's of a node: none.
    in_node: bool,
}

impl Canvas<'_> {
    fn finish(self) -> String {
        let (width, height) = (self.extent.x + 12., self.extent.y + 12.);
        format!(
            "<svg class=\"map\" role=\"img\" aria-label=\"Map of roles\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" xmlns=\"http://www.w3.org/2000/svg\">\
             <defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path class=\"tip\" d=\"M0 0L10 5L0 10z\"/></marker></defs>{}{}</svg>",
            self.arrows, self.shapes
        )
    }

    fn grow(&mut self, point: Point) {
        self.extent = Point::new(self.extent.x.max(point.x), self.extent.y.max(point.y));
    }
}

impl RenderBackend for Canvas<'_> {
    fn draw_rect(
        &mut self,
        xy: Point,
        size: Point,
        _look: &StyleAttr,
        properties: Option<String>,
        _clip: Option<ClipHandle>,
    ) {
        let node = properties
            .and_then(|index| index.parse::<usize>().ok())
            .and_then(|index| self.map.nodes.get(index));
        let Some(node) = node else {
            return;
        };
        self.in_node = true;
        self.grow(Point::new(xy.x + size.x, xy.y + size.y));
        let radius = match node.kind {
            Kind::Scope | Kind::Group | Kind::Predefined => 3.,
            _ => 14.,
        };
        let _ = write!(
            self.shapes,
            "<g class=\"node {}\"><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{radius}\"/>",
            class(node.kind),
            xy.x,
            xy.y,
            size.x,
            size.y
        );
        let lines = node.lines();
        let top = xy.y + (size.y - lines.len() as f64 * LINE) / 2. + LINE * 0.75;
        for (line, number) in lines.iter().zip(0..) {
            let y = top + f64::from(number) * LINE;
            let first = if number == 0 { " class=\"first\"" } else { "" };
            let _ = write!(
                self.shapes,
                "<text{first} x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                xy.x + size.x / 2.,
                crate::html::escaped(line)
            );
        }
        self.shapes += "</g>";
    }

    fn draw_line(&mut self, _: Point, _: Point, _: &StyleAttr, _: Option<String>) {}

    fn draw_circle(&mut self, _: Point, _: Point, _: &StyleAttr, _: Option<String>) {}

    fn draw_text(&mut self, xy: Point, text: &str, _look: &StyleAttr) {
        if std::mem::take(&mut self.in_node) {
            return;
        }
        self.grow(xy);
        let _ = write!(
            self.shapes,
            "<text class=\"option\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            xy.x,
            xy.y + 4.,
            crate::html::escaped(text)
        );
    }

    fn draw_arrow(
        &mut self,
        path: &[(Point, Point)],
        dashed: bool,
        head: (bool, bool),
        _look: &StyleAttr,
        _properties: Option<String>,
        _text: &str,
    ) {
        let [(start, out), (next, into), rest @ ..] = path else {
            return;
        };
        let mut curve = format!(
            "M{:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
            start.x, start.y, out.x, out.y, next.x, next.y, into.x, into.y
        );
        for (control, point) in rest {
            let _ = write!(
                curve,
                "S{:.1} {:.1} {:.1} {:.1}",
                control.x, control.y, point.x, point.y
            );
        }
        for (one, other) in path {
            self.grow(*one);
            self.grow(*other);
        }
        let mut attributes = String::new();
        if head.0 {
            attributes += " marker-start=\"url(#tip)\"";
        }
        if head.1 {
            attributes += " marker-end=\"url(#tip)\"";
        }
        if dashed {
            attributes += " stroke-dasharray=\"5 4\"";
        }
        let _ = write!(
            self.arrows,
            "<path class=\"edge\" d=\"{curve}\"{attributes}/>"
        );
    }

    fn create_clip(&mut self, _: Point, _: Point, _: usize) -> ClipHandle {
        0
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
mod tests {
    use super::super::fold::{Edge, Node};
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
            ],
            // A circle, which PostgreSQL never has, must not hang either.
            edges: vec![edge(0, 1, "by token"), edge(1, 2, ""), edge(2, 0, "")],
        };
        let svg = svg(&map).unwrap_or_default();
        assert!(svg.contains(">ana</text>") && svg.contains(">by token</text>"));
        assert!(svg.contains("&lt;script&gt;&quot;&amp;&#39;") && !svg.contains("<script"));
        assert_eq!(svg.matches("<path class=\"edge\"").count(), 3, "{svg}");
        assert_eq!(super::svg(&Folded::default()), None);
    }
}
