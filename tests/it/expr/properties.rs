//! What holds for every fragment and every text: round trips, no panic, comparison and arithmetic by definition.

use knhk::expr::json::{Kind, written_bytes_max};
use knhk::expr::{Document, Error, Expression, Fragment, compile};
use proptest::prelude::*;
use serde_json::Value;

use super::json::{by_definition, from_json, written};
use super::{refusal, value, verdict, with_order};

/// Fragments of every shape: text, elements, repeats, mixed content, whitespace.
fn fragments() -> impl Strategy<Value = Fragment> {
    let text = prop_oneof![
        "[ a-c<&>\\r\\n]{0,6}",
        Just("12.50".to_owned()),
        Just("true".to_owned()),
        Just(" ".to_owned())
    ];
    let leaf = text.prop_map(|text| Fragment::from_text(&text).as_xml().to_owned());
    let content = leaf.prop_recursive(4, 24, 4, |inner| {
        let element =
            ("[abc]", inner.clone()).prop_map(|(name, content)| format!("<{name}>{content}</{name}>"));
        prop::collection::vec(prop_oneof![3 => element, 1 => inner], 0..4).prop_map(|pieces| pieces.concat())
    });
    content.prop_map(|content| Fragment::parse(&content).unwrap())
}

/// Texts that mostly look like expressions.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop::sample::select(vec![
        "/",
        "//",
        "a",
        "Net",
        "Order",
        "Line",
        "Count",
        "*",
        "..",
        ".",
        "text()",
        "(",
        ")",
        "1",
        "2.5",
        "1e3",
        "'x'",
        "+",
        "-",
        " div ",
        " mod ",
        " idiv ",
        "=",
        "!=",
        "<",
        "<=",
        " eq ",
        " and ",
        " or ",
        "if (",
        ") then ",
        " else ",
        "for $x in ",
        " where ",
        " return ",
        "let $x := ",
        "$x",
        ",",
        "<a>",
        "</a>",
        "<b/>",
        "{",
        "}",
        "{{",
        "&lt;",
        "&#32;",
        "count(",
        "sum(",
        "not(",
        "concat(",
        "string(",
        "number(",
        "true()",
        "()",
        " ",
        "(:",
        ":)",
        "é",
        "[",
        "@",
        "\"",
    ]);
    prop::collection::vec(scrap, 0..24).prop_map(|scraps| scraps.concat())
}

/// Expressions that always compile.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "2.50",
        "1e3",
        "'x'",
        "\"it's\"",
        "/",
        "/Net/Order/Line",
        "//Count",
        "Net/Total/text()",
        ".",
        "..",
        "*",
        "true()",
        "()",
        "string()",
        "<a/>",
        "<b>{{&#32;}}</b>",
        "if",
        "div",
    ]);
    let leaf = leaf.prop_map(|text| format!("({text})"));
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "div", "idiv", "mod", "=", "!=", "<", "<=", ">", ">=", "eq", "ne", "lt", "and",
            "or", ",",
        ]);
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            (pair.clone(), operator.clone()).prop_map(|((a, b), o)| format!("({a} {o} {b})")),
            ((inner.clone(), inner.clone(), inner.clone()), operator.clone())
                .prop_filter("chains", |(_, o)| ["+", "-", "*", "div", "and", "or", ","].contains(o))
                .prop_map(|((a, b, c), o)| format!("({a} {o} {b} {o} {c})")),
            pair.clone().prop_map(|(a, b)| format!("(if ({a}) then {b} else {a})")),
            pair.clone().prop_map(|(a, b)| format!("(for $x in {a}, $y in {b} where $x return ($y, $x))")),
            pair.clone().prop_map(|(a, b)| format!("(let $z := {a} return {b})")),
            pair.clone().prop_map(|(a, b)| format!("{a}/{b}")),
            pair.clone().prop_map(|(a, b)| format!("{a}//{b}/*")),
            pair.clone().prop_map(|(a, b)| format!("<e> t {{{a}}} <f>{{{b}}}</f>&#10;</e>")),
            inner.clone().prop_map(|a| format!("(- {a})")),
            inner.clone().prop_map(|a| format!("count({a})")),
            pair.prop_map(|(a, b)| format!("concat({a}, {b})")),
        ]
    })
}

fn give(expression: &Expression) -> (Result<Fragment, Error>, Result<bool, Error>) {
    with_order(|document| (expression.evaluate(document), expression.holds(document)))
}

/// Leaves out where a failure stands: canonical text has other offsets.
fn without_place<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn json_round_trips(fragment in fragments()) {
        for kind in [Kind::Text, Kind::Number, Kind::Boolean] {
            let text = written(&fragment, kind);
            prop_assert_eq!(&text, &by_definition(&fragment, kind).to_string());
            prop_assert!(text.len() <= written_bytes_max(fragment.len_bytes()));
            let sent: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&from_json(&sent).unwrap(), &fragment);
            prop_assert_eq!(written(&from_json(&sent).unwrap(), kind), text);
        }
    }

    #[test]
    fn xml_round_trips(fragment in fragments()) {
        prop_assert_eq!(&Fragment::parse(fragment.as_xml()).unwrap(), &fragment);
        let stored = postcard::to_stdvec(&fragment).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Fragment>(&stored).unwrap(), &fragment);
        let children = fragment.children();
        prop_assert_eq!(Fragment::from_children(&children).children(), children);
    }

    #[test]
    fn a_variable_copied_is_the_same(fragment in fragments()) {
        let variables = [("v", &fragment)];
        let document = Document { root: "n", variables: &variables };
        let value = |text| compile(text).unwrap().evaluate(&document);
        prop_assert_eq!(value("/n/v"), Ok(fragment.clone()));
        prop_assert_eq!(value("<w>{for $v in /n/v return $v}</w>").unwrap().children(), vec![("v".to_owned(), fragment.clone())]);
        prop_assert_eq!(value("string(/n/v)"), Ok(Fragment::from_text(&fragment.text())));
    }

    #[test]
    fn printing_keeps_the_meaning(text in expressions()) {
        let expression = match compile(&text) {
            Err(Error::TooDeep { .. }) => return Ok(()),
            other => other.unwrap(),
        };
        let printed = expression.to_string();
        let again = compile(&printed).unwrap_or_else(|error| panic!("{text}\n{printed}\n{}", refusal(&error)));
        prop_assert_eq!(&again, &expression, "{}", printed);
        prop_assert_eq!(again.to_string(), printed);
        let (value, truth) = give(&expression);
        let (value_again, truth_again) = give(&again);
        prop_assert_eq!(without_place(value), without_place(value_again));
        prop_assert_eq!(without_place(truth), without_place(truth_again));
    }

    #[test]
    fn variables_that_are_not_read_do_not_matter(text in prop_oneof![expressions(), scraps()]) {
        let Ok(expression) = compile(&text) else { return Ok(()) };
        let Ok(wide) = compile(&format!("if (true()) then ({text}) else //*")) else { return Ok(()) };
        prop_assert_eq!(wide.variables(), None);
        let ((value, truth), (wide_value, wide_truth)) = (give(&expression), give(&wide));
        prop_assert_eq!(without_place(value), without_place(wide_value));
        prop_assert_eq!(without_place(truth), without_place(wide_truth));
    }

    #[test]
    fn within_a_limit_an_expression_gives_what_it_gives_or_nothing_and_takes_no_more(
        text in expressions(),
        steps_max in 0_u64..200,
    ) {
        let Ok(expression) = compile(&text) else { return Ok(()) };
        let (value, truth) = give(&expression);
        with_order(|document| {
            let (whole, cost) = expression.evaluate_counted(document);
            prop_assert_eq!(&whole, &value);
            for steps_max in [steps_max, cost.all(), cost.all().saturating_sub(1)] {
                let (within, taken) = expression.evaluate_within(document, steps_max);
                prop_assert_eq!(within.is_some(), cost.all() <= steps_max, "{:?} of {}", cost, steps_max);
                prop_assert!(taken.steps <= steps_max);
                prop_assert!(within.is_none_or(|within| within == value));
                let (within, taken) = expression.holds_within(document, steps_max);
                prop_assert!(taken.steps <= steps_max);
                prop_assert!(within.is_none_or(|within| within == truth));
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_text_panics(text in prop_oneof![scraps(), any::<String>()]) {
        match compile(&text) {
            Ok(expression) => {
                let _ = give(&expression);
                prop_assert_eq!(compile(&expression.to_string()).unwrap(), expression);
            }
            Err(error) => prop_assert!(error.offset() as usize <= text.len()),
        }
    }

    #[test]
    fn no_mutation_panics(text in expressions(), at in any::<prop::sample::Index>(), scrap in scraps()) {
        let mut mutated: Vec<char> = text.chars().collect();
        let at = at.index(mutated.len() + 1);
        mutated.splice(at..(at + 2).min(mutated.len()), scrap.chars());
        let mutated: String = mutated.into_iter().collect();
        if let Ok(expression) = compile(&mutated) {
            let _ = give(&expression);
        }
        let _ = Fragment::parse(&mutated);
    }

    #[test]
    fn general_comparison_is_any_pair(left in prop::collection::vec(0..5_u8, 0..4), right in prop::collection::vec(0..5_u8, 0..4)) {
        let list = |items: &[u8]| format!("({})", items.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
        let pairs = || left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
        for (operator, expected) in [
            ("=", pairs().any(|(a, b)| a == b)),
            ("!=", pairs().any(|(a, b)| a != b)),
            ("<", pairs().any(|(a, b)| a < b)),
            (">=", pairs().any(|(a, b)| a >= b)),
        ] {
            let text = format!("{} {operator} {}", list(&left), list(&right));
            prop_assert_eq!(verdict(&text), expected.to_string(), "{}", text);
        }
    }

    #[test]
    fn exact_arithmetic_agrees_with_integers(a in -1_000_000_i64..1_000_000, b in -1_000_i64..1_000) {
        prop_assert_eq!(value(&format!("{a} + {b}")), (a + b).to_string());
        prop_assert_eq!(value(&format!("{a} - ({b})")), (a - b).to_string());
        prop_assert_eq!(value(&format!("{a} * {b}")), (a * b).to_string());
        prop_assume!(b != 0);
        prop_assert_eq!(value(&format!("{a} idiv ({b})")), (a / b).to_string());
        prop_assert_eq!(value(&format!("{a} mod ({b})")), (a % b).to_string());
        prop_assert_eq!(verdict(&format!("({a} idiv {b}) * {b} + ({a} mod {b}) = {a}")), "true");
    }
}
