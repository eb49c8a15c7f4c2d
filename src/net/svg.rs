//! A net as SVG: conditions as circles, tasks as boxes, tokens as dots, busy tasks marked.
//!
//! One self-contained document: no scripts, no references to anything outside. Start at [`render`].

mod layout;

use std::fmt::Write;

use super::{Gate, Net, PlaceKey, Task, TaskKind};

/// Most elements that are drawn; larger nets get a line that says so.
pub const SVG_ELEMENTS_MAX: usize = 2_000;
/// Most letters of a name on a task; the whole name is its tooltip.
const TASK_LETTERS_MAX: usize = 13;
/// Most letters of a name below a condition.
const CONDITION_LETTERS_MAX: usize = 20;
/// Radius of a condition.
const RADIUS: i32 = 19;
/// Half of a task's width and height.
const TASK_HALF: (i32, i32) = (55, 24);
/// Width of a join's or split's sign.
const SIGN: i32 = 12;
/// Room above the net for its name.
const TOP: i32 = 34;
/// Most dots for tokens; more are a number.
const DOTS_MAX: u16 = 4;

const STYLE: &str = "text{font:12px sans-serif;fill:#1c2733;text-anchor:middle}\
.name{font-size:14px;font-weight:bold;text-anchor:start}\
.small{font-size:10px;fill:#5b6875}\
.flow{fill:none;stroke:#5b6875;stroke-width:1.3}\
.tip{fill:#5b6875}\
.place,.task,.sign{fill:#fff;stroke:#1c2733;stroke-width:1.4}\
.sign{fill:#e8edf2}\
.inner{fill:none;stroke:#1c2733;stroke-width:1}\
.marked{fill:#e3f1fb;stroke:#1768ac;stroke-width:2}\
.busy{fill:#ffe9b8;stroke:#b86e00;stroke-width:2.4}\
.token{fill:#1768ac}\
.count{font-weight:bold;fill:#1768ac}";

/// What is drawn: a condition's place or a task's number.
#[derive(Clone, Copy)]
enum Element {
    Condition(u16),
    Task(u16),
}

struct Picture<'a> {
    net: &'a Net,
    marking: &'a [(u16, u16)],
    elements: Vec<Element>,
    /// From, to (indices of elements), and the place between two tasks.
    flows: Vec<(usize, usize, Option<u16>)>,
}

/// Draws a net; with a marking (place, tokens; busy places among them) also where its tokens are.
pub fn render(net: &Net, marking: Option<&[(u16, u16)]>) -> String {
    let picture = Picture::of(net, marking.unwrap_or_default());
    if picture.elements.len() > SVG_ELEMENTS_MAX {
        return too_large(net, picture.elements.len());
    }
    let ends: Vec<(usize, usize)> = picture.flows.iter().map(|flow| (flow.0, flow.1)).collect();
    let is_input = |element: &Element| matches!(element, Element::Condition(place) if *place == net.input);
    let first = picture.elements.iter().position(is_input).unwrap_or(0);
    let layout = layout::place(picture.elements.len(), &ends, first);
    let mut svg = open(layout.width.max(200), layout.height + TOP);
    heading(&mut svg, net);
    let shift = |point: &(i32, i32)| (point.0, point.1 + TOP);
    for (flow, bends) in picture.flows.iter().zip(&layout.bends) {
        let bends: Vec<(i32, i32)> = bends.iter().map(shift).collect();
        let (from, to) = (shift(&layout.elements[flow.0]), shift(&layout.elements[flow.1]));
        picture.draw_flow(&mut svg, *flow, from, &bends, to);
    }
    for (element, at) in picture.elements.iter().zip(&layout.elements) {
        match element {
            Element::Condition(place) => picture.draw_condition(&mut svg, *place, shift(at)),
            Element::Task(task) => picture.draw_task(&mut svg, *task, shift(at)),
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn open(width: i32, height: i32) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} \
         {height}\" role=\"img\">\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    )
}

fn heading(svg: &mut String, net: &Net) {
    let name = escape(net.name.as_deref().unwrap_or(&net.id));
    add(svg, format_args!("<title>{name}</title>\n<text class=\"name\" x=\"14\" y=\"22\">{name}</text>\n"));
}

fn too_large(net: &Net, count: usize) -> String {
    let mut svg = open(640, 70);
    heading(&mut svg, net);
    let line = format!("This net has {count} elements; at most {SVG_ELEMENTS_MAX} are drawn.");
    add(
        &mut svg,
        format_args!("<text x=\"14\" y=\"50\" style=\"text-anchor:start\">{line}</text>\n</svg>\n"),
    );
    svg
}

fn add(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("invariant: a string takes what is written");
}

/// Returns text safe in SVG; characters that XML cannot carry become U+FFFD.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            letter => safe.push(letter),
        }
    }
    safe
}

fn shorten(text: &str, letters_max: usize) -> String {
    if text.chars().count() <= letters_max {
        return escape(text);
    }
    let kept: String = text.chars().take(letters_max - 1).collect();
    escape(&(kept + "\u{2026}"))
}

fn number(index: usize) -> u16 {
    u16::try_from(index).expect("invariant: a net's numbers fit 16 bits")
}

impl<'a> Picture<'a> {
    fn of(net: &'a Net, marking: &'a [(u16, u16)]) -> Self {
        let mut elements = Vec::new();
        let mut of_place = vec![None; net.places.len()];
        for (place, key) in net.places.iter().enumerate() {
            if matches!(key, PlaceKey::Condition(_)) {
                of_place[place] = Some(elements.len());
                elements.push(Element::Condition(number(place)));
            }
        }
        let first_task = elements.len();
        elements.extend((0..net.tasks.len()).map(|task| Element::Task(number(task))));
        let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); net.places.len()];
        for (task, row) in net.tasks.iter().enumerate() {
            row.preset.iter().for_each(|place| consumers[usize::from(*place)].push(first_task + task));
        }
        let mut flows = Vec::new();
        for (place, consumers) in consumers.iter().enumerate() {
            if let Some(condition) = of_place[place] {
                flows.extend(consumers.iter().map(|task| (condition, *task, None)));
            }
        }
        for (task, row) in net.tasks.iter().enumerate() {
            let mut places: Vec<u16> = row.flows.iter().map(|flow| flow.place).collect();
            places.sort_unstable();
            places.dedup();
            for place in places {
                match of_place[usize::from(place)] {
                    Some(condition) => flows.push((first_task + task, condition, None)),
                    None => flows.extend(
                        consumers[usize::from(place)].iter().map(|to| (first_task + task, *to, Some(place))),
                    ),
                }
            }
        }
        Self { net, marking, elements, flows }
    }

    fn tokens(&self, place: u16) -> u16 {
        let counts = self.marking.iter().filter(|entry| entry.0 == place).map(|entry| entry.1);
        counts.fold(0, u16::saturating_add)
    }

    /// Returns how far the element's edge lies from its middle, to the side.
    fn half_width(&self, element: usize) -> i32 {
        match self.elements[element] {
            Element::Condition(_) => RADIUS,
            Element::Task(_) => TASK_HALF.0,
        }
    }

    fn draw_flow(
        &self,
        svg: &mut String,
        (from, to, place): (usize, usize, Option<u16>),
        start: (i32, i32),
        bends: &[(i32, i32)],
        end: (i32, i32),
    ) {
        let begin = (start.0 + self.half_width(from), start.1);
        let stop = (end.0 - self.half_width(to) - 7, end.1);
        let mut path = format!("M{} {}", begin.0, begin.1);
        let mut at = begin;
        let mut middle = begin;
        let count = bends.len() + 1;
        for (step, next) in bends.iter().chain([&stop]).enumerate() {
            let is_back = next.0 <= at.0;
            // Flows that go back leave to the right, swing round, and arrive from the left.
            let reach = if is_back && bends.is_empty() { 84 } else { (next.0 - at.0).abs().max(40) / 2 };
            let (out, into) = match (is_back, step == 0, step + 1 == count) {
                (true, true, false) => (at.0 + reach, next.0 + reach),
                (true, false, true) => (at.0 - reach, next.0 - reach),
                (true, false, false) => (at.0 - reach, next.0 + reach),
                (true, true, true) | (false, ..) => (at.0 + reach, next.0 - reach),
            };
            let lift = if is_back && bends.is_empty() { 62 } else { 0 };
            add(
                &mut path,
                format_args!(" C{out} {} {into} {} {} {}", at.1 - lift, next.1 - lift, next.0, next.1),
            );
            if step == count / 2 {
                middle = (i32::midpoint(at.0, next.0), i32::midpoint(at.1, next.1) - lift * 3 / 4);
            }
            at = *next;
        }
        add(svg, format_args!("<path class=\"flow\" d=\"{path}\"/>\n"));
        let (x, y) = (stop.0 + 7, stop.1);
        add(
            svg,
            format_args!("<path class=\"tip\" d=\"M{x} {y}L{} {}L{} {}Z\"/>\n", x - 8, y - 4, x - 8, y + 4),
        );
        if let Some(place) = place.filter(|place| self.tokens(*place) > 0) {
            let (x, y) = middle;
            add(svg, format_args!("<g><title>{}</title>\n", self.place_name(place)));
            add(svg, format_args!("<circle class=\"place marked\" cx=\"{x}\" cy=\"{y}\" r=\"11\"/>\n"));
            self.draw_tokens(svg, place, middle);
            svg.push_str("</g>\n");
        }
    }

    fn place_name(&self, place: u16) -> String {
        escape(&self.net.places[usize::from(place)].name().unwrap_or_default())
    }

    fn draw_tokens(&self, svg: &mut String, place: u16, (x, y): (i32, i32)) {
        let count = self.tokens(place);
        let spots: &[(i32, i32)] = match count {
            0 => return,
            1 => &[(0, 0)],
            2 => &[(-5, 0), (5, 0)],
            3 => &[(-5, 4), (5, 4), (0, -5)],
            DOTS_MAX => &[(-5, -5), (5, -5), (-5, 5), (5, 5)],
            _ => &[],
        };
        for (right, down) in spots {
            let (x, y) = (x + right, y + down);
            add(svg, format_args!("<circle class=\"token\" cx=\"{x}\" cy=\"{y}\" r=\"4\"/>\n"));
        }
        if count > DOTS_MAX {
            add(svg, format_args!("<text class=\"count\" x=\"{x}\" y=\"{}\">{count}</text>\n", y + 4));
        }
    }

    fn draw_condition(&self, svg: &mut String, place: u16, (x, y): (i32, i32)) {
        let marked = if self.tokens(place) > 0 { " marked" } else { "" };
        add(svg, format_args!("<g><title>{}</title>\n", self.place_name(place)));
        add(svg, format_args!("<circle class=\"place{marked}\" cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\"/>\n"));
        if place == self.net.output {
            add(svg, format_args!("<circle class=\"inner\" cx=\"{x}\" cy=\"{y}\" r=\"{}\"/>\n", RADIUS - 4));
        }
        if place == self.net.input && self.tokens(place) == 0 {
            let (left, right) = (x - 5, x + 8);
            let (top, bottom) = (y - 8, y + 8);
            add(
                svg,
                format_args!("<path class=\"sign\" d=\"M{left} {top}L{right} {y}L{left} {bottom}Z\"/>\n"),
            );
        }
        self.draw_tokens(svg, place, (x, y));
        let name = self.net.places[usize::from(place)].name().unwrap_or_default();
        let name = shorten(&name, CONDITION_LETTERS_MAX);
        add(
            svg,
            format_args!("<text class=\"small\" x=\"{x}\" y=\"{}\">{name}</text>\n</g>\n", y + RADIUS + 13),
        );
    }

    fn draw_task(&self, svg: &mut String, number: u16, (x, y): (i32, i32)) {
        let task = &self.net.tasks[usize::from(number)];
        let busy = if self.tokens(task.busy) > 0 { " busy" } else { "" };
        let (left, top) = (x - TASK_HALF.0, y - TASK_HALF.1);
        let (width, height) = (2 * TASK_HALF.0, 2 * TASK_HALF.1);
        add(svg, format_args!("<g><title>{}</title>\n", self.about(task)));
        add(
            svg,
            format_args!(
                "<rect class=\"task{busy}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"3\"/>\n"
            ),
        );
        let (is_join, is_split) = (task.preset.len() > 1, task.flows.len() > 1);
        if matches!(task.kind, TaskKind::Composite(_)) {
            let (left, width) = (left + 4, width - 8);
            let (top, height) = (top + 4, height - 8);
            add(
                svg,
                format_args!(
                    "<rect class=\"inner\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>\n"
                ),
            );
        }
        if is_join {
            draw_sign(svg, task.join, (left, y), 1);
        }
        if is_split {
            draw_sign(svg, task.split, (left + width, y), -1);
        }
        let name = shorten(task.name.as_deref().unwrap_or(&task.id), TASK_LETTERS_MAX);
        let below = match task.kind {
            TaskKind::Automated => "automated",
            TaskKind::Empty => "empty",
            TaskKind::Composite(_) => "net",
            TaskKind::Manual => "",
        };
        let up = if below.is_empty() { 4 } else { -2 };
        add(svg, format_args!("<text x=\"{x}\" y=\"{}\">{name}</text>\n", y + up));
        if !below.is_empty() {
            add(svg, format_args!("<text class=\"small\" x=\"{x}\" y=\"{}\">{below}</text>\n", y + 13));
        }
        svg.push_str("</g>\n");
    }

    /// Returns the tooltip of a task: its name, and what it empties.
    fn about(&self, task: &Task) -> String {
        let mut about = escape(task.name.as_deref().unwrap_or(&task.id));
        let owner = |place: u16| self.net.tasks.iter().find(|task| task.busy == place);
        for (at, place) in task.removes.iter().enumerate() {
            let name = self.net.places[usize::from(*place)].name();
            let name = name.or_else(|| Some(owner(*place)?.id.clone())).unwrap_or_default();
            about.push_str(if at == 0 { "; empties " } else { ", " });
            about.push_str(&escape(&name));
        }
        about
    }
}

/// Draws the sign of a join (`inward` = 1, on the left edge) or of a split (-1, on the right edge).
fn draw_sign(svg: &mut String, gate: Gate, (edge, y): (i32, i32), inward: i32) {
    let (top, bottom) = (y - TASK_HALF.1, y + TASK_HALF.1);
    let inner = edge + inward * SIGN;
    let left = edge.min(inner);
    let height = bottom - top;
    add(
        svg,
        format_args!(
            "<rect class=\"sign\" x=\"{left}\" y=\"{top}\" width=\"{SIGN}\" height=\"{height}\"/>\n"
        ),
    );
    let middle = edge + inward * SIGN / 2;
    let path = match gate {
        Gate::And => format!("M{edge} {top}L{inner} {y}L{edge} {bottom}"),
        Gate::Xor => format!("M{inner} {top}L{edge} {y}L{inner} {bottom}"),
        Gate::Or => format!("M{middle} {top}L{inner} {y}L{middle} {bottom}L{edge} {y}Z"),
    };
    add(svg, format_args!("<path class=\"inner\" d=\"{path}\"/>\n"));
}
