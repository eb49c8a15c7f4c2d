//! Where elements go: layers from left to right, few crossings, flows around what lies between.
//!
//! The usual four steps: turn flows that go back, number the layers by the longest way, order each layer by the
//! middle of its neighbours, and spread it vertically. Deterministic; bounded by the named limits.

/// Most points that flows over several layers may take; beyond them flows are drawn straight.
pub(super) const BENDS_MAX: usize = 20_000;
/// Times that the order of the layers is improved.
const ORDER_SWEEPS: usize = 12;
/// Times that heights are evened out.
const HEIGHT_SWEEPS: usize = 8;
/// Most sweeps times elements and flows; large nets are improved less often.
const SWEEP_WORK_MAX: usize = 2_000_000;
/// Distance between the middles of elements of one layer.
const ROW_HEIGHT: i32 = 84;
/// Distance between a bend of a flow and its neighbour.
const BEND_HEIGHT: i32 = 34;
/// Distance between layers.
const LAYER_WIDTH: i32 = 164;

/// Where everything lies.
#[derive(Debug)]
pub(super) struct Layout {
    /// Middle of each element.
    pub(super) elements: Vec<(i32, i32)>,
    /// Points that each flow bends at, from its source on.
    pub(super) bends: Vec<Vec<(i32, i32)>>,
    pub(super) width: i32,
    pub(super) height: i32,
}

/// Elements and bends as one graph, all flows pointing right.
struct Graph {
    layer: Vec<usize>,
    is_bend: Vec<bool>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// Nodes of each layer in order.
    layers: Vec<Vec<usize>>,
}

/// Places `count` elements with the given flows (from, to); `first` begins on the left.
pub(super) fn place(count: usize, flows: &[(usize, usize)], first: usize) -> Layout {
    let turned = turned(count, flows, first);
    let layer = layers(count, flows, &turned);
    let (mut graph, chains) = graph(count, flows, &turned, layer);
    let work = graph.before.len() + graph.before.iter().map(Vec::len).sum::<usize>();
    let affordable = SWEEP_WORK_MAX / work.max(1);
    for sweep in 0..ORDER_SWEEPS.min(affordable) {
        order(&mut graph, sweep % 2 == 0);
    }
    let heights = heights(&graph, HEIGHT_SWEEPS.min(affordable));
    let lowest = heights.iter().copied().min().unwrap_or(0);
    let point = |node: usize| {
        let layer = i32::try_from(graph.layer[node]).unwrap_or(i32::MAX / LAYER_WIDTH - 1);
        (LAYER_WIDTH / 2 + layer * LAYER_WIDTH, heights[node] - lowest + ROW_HEIGHT / 2)
    };
    let elements: Vec<(i32, i32)> = (0..count).map(point).collect();
    let bends: Vec<Vec<(i32, i32)>> =
        chains.into_iter().map(|chain| chain.into_iter().map(point).collect()).collect();
    let all = || elements.iter().chain(bends.iter().flatten());
    let width = all().map(|point| point.0).max().unwrap_or(0) + LAYER_WIDTH / 2;
    let height = all().map(|point| point.1).max().unwrap_or(0) + ROW_HEIGHT / 2;
    Layout { elements, bends, width, height }
}

/// Tells for each flow whether it closes a cycle; without those there is none.
fn turned(count: usize, flows: &[(usize, usize)], first: usize) -> Vec<bool> {
    let mut out = vec![Vec::new(); count];
    for (flow, (from, _)) in flows.iter().enumerate() {
        out[*from].push(flow);
    }
    let mut turned = vec![false; flows.len()];
    // 0 = new, 1 = on the way, 2 = done.
    let mut state = vec![0_u8; count];
    for root in std::iter::once(first).chain(0..count).filter(|root| *root < count) {
        if state[root] != 0 {
            continue;
        }
        state[root] = 1;
        let mut way = vec![(root, 0)];
        while let Some((at, next)) = way.last_mut() {
            let Some(&flow) = out[*at].get(*next) else {
                state[*at] = 2;
                way.pop();
                continue;
            };
            *next += 1;
            let to = flows[flow].1;
            match state[to] {
                0 => {
                    state[to] = 1;
                    way.push((to, 0));
                }
                1 => turned[flow] = true,
                _ => {}
            }
        }
    }
    turned
}

/// Returns the layer of each element: the longest way that leads to it.
fn layers(count: usize, flows: &[(usize, usize)], turned: &[bool]) -> Vec<usize> {
    let right: Vec<(usize, usize)> =
        flows.iter().zip(turned).map(|(flow, turned)| forward(*flow, *turned)).collect();
    let mut out = vec![Vec::new(); count];
    let mut missing = vec![0_usize; count];
    for (from, to) in right.iter().filter(|(from, to)| from != to) {
        out[*from].push(*to);
        missing[*to] += 1;
    }
    let mut layer = vec![0; count];
    let mut ready: Vec<usize> = (0..count).filter(|at| missing[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for to in &out[at] {
            layer[*to] = layer[*to].max(layer[at] + 1);
            missing[*to] -= 1;
            if missing[*to] == 0 {
                ready.push(*to);
            }
        }
    }
    layer
}

fn forward((from, to): (usize, usize), turned: bool) -> (usize, usize) {
    if turned { (to, from) } else { (from, to) }
}

/// Makes the graph with bends, and for each flow its bends from source to target.
fn graph(
    count: usize,
    flows: &[(usize, usize)],
    turned: &[bool],
    layer: Vec<usize>,
) -> (Graph, Vec<Vec<usize>>) {
    let span = |flow: &(usize, usize)| layer[flow.0].abs_diff(layer[flow.1]);
    let bends: usize = flows.iter().map(|flow| span(flow).saturating_sub(1)).sum();
    let mut graph = Graph {
        is_bend: vec![false; count],
        before: vec![Vec::new(); count],
        after: vec![Vec::new(); count],
        layers: vec![Vec::new(); layer.iter().max().map_or(0, |last| last + 1)],
        layer,
    };
    let mut chains = Vec::with_capacity(flows.len());
    for (flow, turned) in flows.iter().zip(turned) {
        let (from, to) = forward(*flow, *turned);
        let mut chain = Vec::new();
        let mut at = from;
        if bends <= BENDS_MAX {
            for layer in graph.layer[from] + 1..graph.layer[to] {
                let bend = graph.layer.len();
                graph.layer.push(layer);
                graph.is_bend.push(true);
                graph.before.push(Vec::new());
                graph.after.push(Vec::new());
                graph.link(at, bend);
                chain.push(bend);
                at = bend;
            }
        }
        if from != to {
            graph.link(at, to);
        }
        if *turned {
            chain.reverse();
        }
        chains.push(chain);
    }
    for node in 0..graph.layer.len() {
        let layer = graph.layer[node];
        graph.layers[layer].push(node);
    }
    (graph, chains)
}

impl Graph {
    fn link(&mut self, from: usize, to: usize) {
        self.after[from].push(to);
        self.before[to].push(from);
    }
}

/// Orders each layer by the middle of its neighbours in the layer before, or after.
fn order(graph: &mut Graph, rightwards: bool) {
    let mut position = vec![0_usize; graph.layer.len()];
    for layer in &graph.layers {
        layer.iter().enumerate().for_each(|(at, node)| position[*node] = at);
    }
    let count = graph.layers.len();
    for step in 0..count {
        let at = if rightwards { step } else { count - 1 - step };
        let neighbours = if rightwards { &graph.before } else { &graph.after };
        let mut layer = std::mem::take(&mut graph.layers[at]);
        layer.sort_by_cached_key(|node| {
            let near = &neighbours[*node];
            // In thousandths, so that equal middles stay in order.
            let middle = near.iter().map(|other| position[*other]).sum::<usize>() * 1_000;
            if near.is_empty() { position[*node] * 1_000 } else { middle / near.len() }
        });
        layer.iter().enumerate().for_each(|(at, node)| position[*node] = at);
        graph.layers[at] = layer;
    }
}

/// Spreads the layers vertically: near the middle of the neighbours, but apart from each other.
fn heights(graph: &Graph, sweeps: usize) -> Vec<i32> {
    let mut heights = vec![0_i32; graph.layer.len()];
    for layer in &graph.layers {
        let mut height = 0;
        for (at, node) in layer.iter().enumerate() {
            height += if at == 0 { 0 } else { gap(graph, layer[at - 1], *node) };
            heights[*node] = height;
        }
        for node in layer {
            heights[*node] -= height / 2;
        }
    }
    for sweep in 0..sweeps {
        for step in 0..graph.layers.len() {
            let at = if sweep % 2 == 0 { step } else { graph.layers.len() - 1 - step };
            spread(graph, &graph.layers[at], sweep, &mut heights);
        }
    }
    heights
}

fn gap(graph: &Graph, above: usize, below: usize) -> i32 {
    match (graph.is_bend[above], graph.is_bend[below]) {
        (false, false) => ROW_HEIGHT,
        (true, true) => BEND_HEIGHT,
        _ => i32::midpoint(ROW_HEIGHT, BEND_HEIGHT),
    }
}

fn spread(graph: &Graph, layer: &[usize], sweep: usize, heights: &mut [i32]) {
    let wish: Vec<i32> = layer
        .iter()
        .map(|node| {
            let near = if sweep.is_multiple_of(2) { &graph.before[*node] } else { &graph.after[*node] };
            let sum: i64 = near.iter().map(|other| i64::from(heights[*other])).sum();
            match i64::try_from(near.len()) {
                Ok(count) if count > 0 => i32::try_from(sum / count).unwrap_or(0),
                _ => heights[*node],
            }
        })
        .collect();
    let mut down = wish.clone();
    let mut up = wish;
    for at in 1..layer.len() {
        down[at] = down[at].max(down[at - 1] + gap(graph, layer[at - 1], layer[at]));
    }
    for at in (1..layer.len()).rev() {
        up[at - 1] = up[at - 1].min(up[at] - gap(graph, layer[at - 1], layer[at]));
    }
    // Both keep the distances, and so does what lies midway.
    for (at, node) in layer.iter().enumerate() {
        heights[*node] = i32::midpoint(down[at], up[at]);
    }
}
