//! Predicates and mappings: what an expression gives over a small order, or where and why it is refused.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod json;
mod properties;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use knhk::expr::{
    DEPTH_MAX, Document, ELEMENT_DEPTH_MAX, EXPRESSION_BYTES_MAX, Error, Fragment, RESULT_BYTES_MAX,
    STEPS_MAX, compile,
};

const ORDER: &str = "<Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line>\
                     <Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>";

fn with_order<T>(act: impl FnOnce(&Document<'_>) -> T) -> T {
    let order = Fragment::parse(ORDER).unwrap();
    let (paid, total, note) = (
        Fragment::from_text("true"),
        Fragment::from_text("8.5"),
        Fragment::parse("Mind <b>the</b> gap").unwrap(),
    );
    let unset = Fragment::empty();
    let variables =
        [("Order", &order), ("Paid", &paid), ("Total", &total), ("Note", &note), ("Unset", &unset)];
    act(&Document { root: "Net", variables: &variables })
}

fn refusal(error: &Error) -> String {
    format!("{} at {}: {error}", error.code(), error.offset())
}

fn value(text: &str) -> String {
    match compile(text).and_then(|expression| with_order(|document| expression.evaluate(document))) {
        Ok(fragment) if fragment.is_empty() => "(nothing)".to_owned(),
        Ok(fragment) if fragment.as_xml().trim() != fragment.as_xml() => format!("{:?}", fragment.as_xml()),
        Ok(fragment) => fragment.as_xml().to_owned(),
        Err(error) => refusal(&error),
    }
}

fn verdict(text: &str) -> String {
    match compile(text).and_then(|expression| with_order(|document| expression.holds(document))) {
        Ok(truth) => truth.to_string(),
        Err(error) => refusal(&error),
    }
}

/// Works out each expression of a table of `expression => what it gives`.
fn check(give: impl Fn(&str) -> String, table: Expect) {
    let mut out = String::new();
    for line in table.data().lines().map(str::trim).filter(|line| !line.is_empty()) {
        let text = line.split_once(" =>").map_or(line, |(text, _)| text);
        let _ = writeln!(out, "{text} => {}", give(text));
    }
    table.assert_eq(&out);
}

#[test]
fn paths_pick_elements_and_text() {
    check(
        value,
        expect![[r#"
            /Net/Total => 8.5
            /Net/Total/text() => 8.5
            /Net/Unset => (nothing)
            /Net/Unset/text() => (nothing)
            /Net/Missing => (nothing)
            /Other/Total => (nothing)
            /Net/Order => <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            /Net/Order/* => <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            /Net/Order/Line/Item => <Item>bolt</Item><Item>nut &amp; washer</Item>
            /Net/Order/Line/Item/text() => boltnut &amp; washer
            /Net/Note => Mind <b>the</b> gap
            /Net/Note/text() => Mind  gap
            /Net/Note/* => the
            //Item => <Item>bolt</Item><Item>nut &amp; washer</Item>
            //Order//text() => bolt1.504nut &amp; washer0.2510
            /Net//Price => <Price>1.50</Price><Price>0.25</Price>
            Net/Total => 8.5
            ./Net/./Total => 8.5
            /Net/Order/Line/Item/.. => <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            /Net/Order/Line/../../Total => 8.5
            /Net/Order/count(Line) => 2
            //Net/Order/Line/string(Item) => bolt nut &amp; washer
            /Net/Order/Line/(Item, Count) => <Item>bolt</Item><Count>4</Count><Item>nut &amp; washer</Item><Count>10</Count>
            /Net/Order/Line/(Count, Item) => <Item>bolt</Item><Count>4</Count><Item>nut &amp; washer</Item><Count>10</Count>
            /Net/Order/Line/<i>{Item/text()}</i> => <i>bolt</i><i>nut &amp; washer</i>
            (/Net/Total, /Net/Paid) => <Total>8.5</Total><Paid>true</Paid>
            / Net / Total => 8.5
            /Net/Total(: how (: much :) :)/text() => 8.5
        "#]],
    );
}

#[test]
fn constructors_build_content() {
    check(
        value,
        expect![[r#"
            <a>4</a> => 4
            <a/> => (nothing)
            <Total>{/Net/Total/text()}</Total> => 8.5
            <Order>{/Net/Order/*}</Order> => <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            <x>{/Net/Order}</x> => <Order><Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line></Order>
            <c><d>{fn:boolean(/Net/Paid/text())}</d><e/> <f>P{/Net/Total/text()}D</f></c> => <d>true</d><e/><f>P8.5D</f>
            <a>{1, 'b', true()}</a> => 1 b true
            <a>{1}{2}</a> => 12
            <a> {1} {2} </a> => 12
            <a> x {1} y </a> => " x 1 y "
            <a>&#32;<b/></a> => <b/>
            <a>&#32;</a> => " "
            <a><![CDATA[<&>]]></a> => &lt;&amp;&gt;
            <a>{{1}}<!-- no --><?no no?>&lt;&gt;&amp;&quot;&apos;&#x41;</a> => {1}&lt;&gt;&amp;"'A
            <a>{}</a> => (nothing)
            <a>{()}</a> => (nothing)
            <a>{/Net/Unset}</a> => <Unset/>
            <a>{for $l in /Net/Order/Line return <l>{$l/Item/text()}</l>}</a> => <l>bolt</l><l>nut &amp; washer</l>
            <a>{/}</a> => <Net><Order><Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line></Order><Paid>true</Paid><Total>8.5</Total><Note>Mind <b>the</b> gap</Note><Unset/></Net>
            <a>{<b>{<c/>}</b>}</a> => <b><c/></b>
            (<a>1</a>, <b/>, 2, 3, <c/>) => <a>1</a><b/>2 3<c/>
            ('a', 'b', 3) => a b 3
        "#]],
    );
}

#[test]
fn numbers_are_exact_until_text_makes_them_double() {
    check(
        value,
        expect![[r#"
            1 + 2 * 3 - 4 => 3
            0.1 + 0.2 => 0.3
            0.1e0 + 0.2e0 => 0.30000000000000004
            7 div 2 => 3.5
            1 div 3 => 0.333333333333333333
            -7 idiv 2 => -3
            -7 mod 2 => -1
            7.5 mod 2 => 1.5
            6 div 3 => 2
            1.50 => 1.5
            -(-3) => 3
            - -3 => 3
            2 - -3 => 5
            /Net/Total + 1 => 9.5
            /Net/Total/text() * 2 => 17
            /Net/Unset/text() + 1 => (nothing)
            999999e0 => 999999
            /Net/Total * 1000000 => 8.5E6
            1e-7 => 1.0E-7
            1 div 0 => KN0212 at 2: division by zero
            1 mod 0 => KN0212 at 2: division by zero
            1e0 div 0 => INF
            -1e0 div 0 => -INF
            0e0 div 0 => NaN
            5e0 idiv 0 => KN0212 at 4: division by zero
            1e30 idiv 7 => 142857142857142852444009529344
            1e200 idiv 1 => KN0213 at 6: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            170141183460469231731687303715884105727 => 170141183460469231731687303715884105727
            170141183460469231731687303715884105728 => KN0213 at 0: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            170141183460469231731687303715884105727 + 1 => KN0213 at 40: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            1.0000000000000000001 => KN0213 at 0: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            1e999 => KN0213 at 0: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            number('x') => NaN
            number('12.50') => 12.5
            number(/Net/Missing) => NaN
            number(true()) => 1
            sum(/Net/Order/Line/Count) => 14
            sum((1, 2.5)) => 3.5
            sum(()) => 0
            sum(for $l in /Net/Order/Line return $l/Price * $l/Count) => 8.5
            count(/Net/Order/Line) => 2
            '1' + 1 => KN0210 at 4: a number is needed, not a string
            true() + 1 => KN0210 at 7: a number is needed, not a boolean
            /Net/Paid + 1 => KN0211 at 10: "true" is not a number
            /Net/Order/Line/Count + 1 => KN0210 at 22: one value is needed here, not 2
        "#]],
    );
}

#[test]
fn comparisons_follow_their_types() {
    check(
        verdict,
        expect![[r#"
            /Net/Paid = 'true' => true
            /Net/Paid/text() = 'false' => false
            /Net/Paid = true() => true
            /Net/Total = 8.50 => true
            /Net/Total = '8.50' => false
            /Net/Total < 10 => true
            /Net/Total < '10' => false
            /Net/Total/text()>=8.5 and /Net/Total/text()<9 => true
            /Net/Order/Line/Count = 10 => true
            /Net/Order/Line/Count != 10 => true
            /Net/Order/Line/Count > 10 => false
            /Net/Order/Line/Count = (1, 4) => true
            /Net/Order/Line/Count = /Net/Order/Line/Count => true
            /Net/Missing = 1 => false
            /Net/Missing != 1 => false
            not(/Net/Missing = 1) => true
            /Net/Unset/text() < 0 => false
            /Net/Unset < 0 => KN0211 at 11: "" is not a number
            /Net/Unset = '' => true
            /Net/Paid = 1 => KN0211 at 10: "true" is not a number
            /Net/Total = true() => KN0211 at 11: "8.5" is not a boolean
            1 = '1' => KN0210 at 2: a number cannot be compared with a string
            1 eq 1.0 => true
            'a' lt 'b' => true
            /Net/Total eq '8.5' => true
            /Net/Total eq 8.5 => KN0210 at 11: untyped text cannot be compared with a number
            /Net/Order/Line/Count eq '4' => KN0210 at 22: one value is needed here, not 2
            () eq 1 => false
            number('x') = number('x') => false
            number('x') != number('x') => true
            true() > false() => true
            1 < 2 = true() => KN0200 at 6: expected an operator or the end, found =
            (1 < 2) = true() => true
            1 ne 2 => true
            2 ge 2 => true
            2 le 1 => false
            2 gt 1 => true
        "#]],
    );
}

#[test]
fn truth_is_the_effective_boolean_value() {
    check(
        verdict,
        expect![[r#"
            true() => true
            false() => false
            'false' => true
            '' => false
            0 => false
            0.0 => false
            0e0 => false
            number('x') => false
            2 => true
            () => false
            /Net/Unset => true
            /Net/Unset/text() => false
            /Net/Missing => false
            (/Net/Unset, 1) => true
            (1, 2) => KN0210 at 1: several values have no truth value
            not(/Net/Missing) and exists(/Net/Unset) => true
            empty(/Net/Missing) or 1 div 0 => true
            false() and 1 div 0 => false
            boolean('a') and fn:not(()) => true
            if (/Net/Paid = 'true') then 1 else 0 => true
            if(count(/Net/Order/*)=0)then(1 div 0)else() => false
            contains(/Net/Order, 'washer') => true
            contains('abc', ()) => true
            contains((), 'a') => false
            contains(12, '1') => KN0210 at 0: contains() needs a string, not a number
            concat('a', 1, /Net/Total, ()) = 'a18.5' => true
            string(/Net/Note) = 'Mind the gap' => true
            string() = string(/) => true
        "#]],
    );
}

#[test]
fn for_and_let_bind_names() {
    check(
        value,
        expect![[r#"
            for $l in /Net/Order/Line return $l => <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            for $l in /Net/Order/Line where $l/Count > 5 return $l/Item => nut &amp; washer
            for $a in (1, 2), $b in (3, 4) return $a * $b => 3 4 6 8
            for $a in (1, 2) let $b := $a + 1 where $b = 3 return concat($a, '-', $b) => 2-3
            let $t := /Net/Total return $t + $t => 17
            for $a in (1, 2) return for $a in ($a, 5) return $a => 1 5 2 5
            for $a in $a return 1 => KN0205 at 10: $a is not bound here
            for $a in (1, 2) return $b => KN0205 at 24: $b is not bound here
            (for $a in 1 return $a) + $a => KN0205 at 26: $a is not bound here
            for $a at $i in (1, 2) return $i => KN0206 at 7: `at $position` is not supported yet
            for $a in (2, 1) order by $a return $a => KN0206 at 17: `order by` is not supported yet
            for/if/return => (nothing)
        "#]],
    );
}

#[test]
fn what_is_no_expression_is_refused_with_its_offset() {
    check(
        value,
        expect![[r#"
            average rating < 3 out of 5 => KN0200 at 8: expected an operator or the end, found rating
            /Net/Total > => KN0200 at 12: expected an expression, found the end
            (1, 2 => KN0200 at 5: expected ), found the end
            1 + => KN0200 at 3: expected an expression, found the end
            1 2 => KN0200 at 2: expected an operator or the end, found 2
            10div 2 => KN0200 at 2: a name follows a number directly
            'abc => KN0200 at 0: string does not end
            "a""b" => a"b
            '&nbsp;' => KN0200 at 1: unknown entity
            '&#x0;' => KN0200 at 1: unknown entity
            (: (: :) => KN0200 at 0: comment does not end
            a b => KN0200 at 2: expected an operator or the end, found b
            /Net/[ => KN0200 at 5: expected an expression, found [
            /Net/Order/Line[1] => KN0207 at 15: a [ ] filter is not part of this language
            /Net/text()[1] => KN0207 at 11: a [ ] filter is not part of this language
            /Net/@id => KN0207 at 5: an attribute is not part of this language
            <a b='c'/> => KN0207 at 3: an attribute is not part of this language
            <a:b/> => KN0207 at 2: a name with a prefix is not part of this language
            a:b => KN0207 at 0: a name with a prefix is not part of this language
            child::a => KN0207 at 0: an axis is not part of this language
            /Net/node() => KN0207 at 5: a test of node kinds is not part of this language
            <a> => KN0200 at 0: element a does not end
            <a></b> => KN0200 at 3: expected </a>
            <a>}</a> => KN0200 at 3: } closes nothing
            <a>{1</a> => KN0200 at 8: expected an operator or }, found >
            <a>&</a> => KN0200 at 3: unknown entity
            < 1 => KN0200 at 0: expected an expression, found <
            nope(1) => KN0203 at 0: there is no function nope()
            fn:nope(1) => KN0203 at 0: there is no function fn:nope()
            count() => KN0204 at 0: count() takes one argument, not 0
            concat('a') => KN0204 at 0: concat() takes two or more arguments, not 1
            true(1) => KN0204 at 0: true() takes no arguments, not 1
            fn:current-date() => KN0206 at 0: function current-date() is not supported yet
            timer(Approve) = 'expired' => KN0206 at 0: function timer() is not supported yet
            abs(/Net/Total) => KN0206 at 0: function abs() is not supported yet
            xs:date('2020-01-01') => KN0206 at 0: function xs:date() is not supported yet
            1 to 3 => KN0206 at 2: operator `to` is not supported yet
            a | b => KN0206 at 2: operator `|` is not supported yet
            some $x in a satisfies $x => KN0206 at 0: `some` is not supported yet
            $x => KN0205 at 0: $x is not bound here
            $ 1 => KN0200 at 0: expected a name after $
            # => KN0200 at 0: '#' has no meaning here
            1 = 2 = 3 => KN0200 at 6: expected an operator or the end, found =
            if (1) then 2 => KN0200 at 13: expected else, found the end
            1/Total => KN0210 at 2: a step needs an element before it, not a value
            <a/>/(/Net) => KN0210 at 6: a path from / needs an item of the data document
            /Net/(Total, 1) => KN0210 at 5: a step gives elements or values, not both
            /Net/Order/Line/Count/text()/1/text() => KN0210 at 31: a step needs an element before it, not a value
        "#]],
    );
}

#[test]
fn a_root_that_is_no_name_can_be_read_but_not_copied() {
    let total = Fragment::from_text("5");
    let variables = [("Total", &total)];
    let document = Document { root: "New Net #1", variables: &variables };
    let value = |text: &str| compile(text).and_then(|expression| expression.evaluate(&document));
    assert_eq!(value("/*/Total"), Ok(Fragment::from_text("5")));
    assert_eq!(value("//Total + 1"), Ok(Fragment::from_text("6")));
    assert_eq!(value("/"), Err(Error::ResultName { name: "New Net #1".to_owned() }));
    let beta = Document { root: "data", variables: &variables };
    assert_eq!(compile("/data/Total").unwrap().evaluate(&beta), Ok(Fragment::from_text("5")));
}

#[test]
fn an_expression_knows_which_variables_it_reads() {
    let variables = |text: &str| match compile(text).unwrap().variables() {
        None => "any".to_owned(),
        Some([]) => "none".to_owned(),
        Some(names) => names.join(" "),
    };
    check(
        variables,
        expect![[r#"
            true() => none
            /Net/Total => Total
            /Net/Total/text() >= 5 and /Net/Paid = 'true' => Paid Total
            Net/Total => Total
            <a>{/Net/Order/*}<b>{/Net/Paid}</b></a> => Order Paid
            for $l in /Net/Order/Line where $l/Count > /Net/Total return $l//Price => Order Total
            /Net/Order/Line/count(Item) => Order
            /Net/Order/Line/(Item, /Net/Total) => Order Total
            /Net/Order/Line/string() => Order
            (/Net/Order, /Net/Note)/Line => Note Order
            concat(/Net/Order/Line/Item, -(/Net/Total), 1 + /Net/Paid, if (/Net/Unset) then 1 else 2) => Order Paid Total Unset
            /Net/Order/.. => any
            for $l in /Net/Order return $l/../Total => any
            /Net => any
            / => any
            //Total => any
            /Net//Total => any
            /Net/* => any
            /*/Total => any
            . => any
            string() => any
            /Net/Order/Line/string(/) => any
            /Net/count(Order) => any
            Total => any
        "#]],
    );
}

#[test]
fn the_printed_text_is_canonical() {
    for (text, canonical) in [
        ("(1+2)*3-4", "(1 + 2) * 3 - 4"),
        ("a-(b-c)", "a-(b - c)"),
        ("a - (b - c)", "a - (b - c)"),
        ("not ( a or(b and c) )or(d)", "not(a or b and c) or d"),
        ("(a or b) or c", "(a or b) or c"),
        ("- -1", "+1"),
        ("-(-1)", "-(-1)"),
        ("/", "(/)"),
        (
            "for $a in x, $b in y where $a return 1",
            "for $a in x return for $b in y return if ($a) then 1 else ()",
        ),
        ("<a > x {1,2} <b></b></a >", "<a> x {(1, 2)}<b/></a>"),
        ("<a>&#32;{''}</a>", "<a>&#32;{''}</a>"),
        ("'it''s'", "\"it's\""),
        ("1.50 + 1e3", "1.5 + 1E3"),
        ("fn:count(//a)", "count(//a)"),
    ] {
        match compile(text) {
            Ok(expression) => assert_eq!(expression.to_string(), canonical, "{text}"),
            Err(error) => assert_eq!(text, "a-(b-c)", "{}", refusal(&error)),
        }
    }
}

#[test]
fn limits_of_the_text_hold_at_the_limit() {
    let long = |bytes: usize| " ".repeat(bytes - 1) + "1";
    assert!(compile(&long(EXPRESSION_BYTES_MAX)).is_ok());
    assert_eq!(
        compile(&long(EXPRESSION_BYTES_MAX + 1)),
        Err(Error::TooLong { bytes: EXPRESSION_BYTES_MAX + 1, limit: EXPRESSION_BYTES_MAX })
    );
    let depth = DEPTH_MAX as usize;
    let nested: [(&str, &str, &str); 8] = [
        ("(", "1", ")"),
        ("not(", "1", ")"),
        ("if (1) then 2 else ", "1", ""),
        ("let $a := 1 return ", "1", ""),
        ("<a>", "", "</a>"),
        ("1+(1*-", "1", ")"),
        ("count(a/(", "1", "))"),
        ("<a>{", "1", "}</a>"),
    ];
    for (open, inside, close) in nested {
        let text = |levels: usize| open.repeat(levels) + inside + &close.repeat(levels);
        let deepest = (0..=depth + 1).rev().find(|&levels| compile(&text(levels)).is_ok()).unwrap();
        assert!((depth / 2 - 1..=depth).contains(&deepest), "{open}: {deepest}");
        let printed = compile(&text(deepest)).unwrap().to_string();
        with_order(|document| compile(&printed).unwrap().evaluate(document)).unwrap_or_else(|error| {
            assert_eq!(error, Error::ResultTooDeep { limit: ELEMENT_DEPTH_MAX }, "{open}");
            Fragment::empty()
        });
        let very_deep = text((EXPRESSION_BYTES_MAX - 10) / (open.len() + close.len()));
        assert!(matches!(compile(&very_deep), Err(Error::TooDeep { .. })), "{open}");
    }
    let wide = "1+".repeat(EXPRESSION_BYTES_MAX / 2 - 1) + "1";
    assert_eq!(value(&wide), (EXPRESSION_BYTES_MAX / 2).to_string());
    let paths = "a/".repeat(EXPRESSION_BYTES_MAX / 2 - 1) + "a";
    assert_eq!(value(&paths), "(nothing)");
}

#[test]
fn limits_of_an_evaluation_hold() {
    let items = "1,".repeat(999) + "1";
    let loops = format!("let $a := ({items}) return count(for $x in $a, $y in $a return $x)");
    assert_eq!(
        value(&loops).split(": ").nth(1),
        Some(format!("evaluation took more than {STEPS_MAX} steps").as_str())
    );
    let doubled = "let $a := concat($a, $a) return ".repeat(20);
    let text = format!("let $a := 'abcdefgh' return {doubled} $a");
    assert_eq!(value(&text), format!("KN0215 at 0: result is larger than {RESULT_BYTES_MAX} bytes"));
    let doubled = "let $a := <x>{$a}{$a}</x> return ".repeat(20);
    let text = format!("let $a := <a>abcdefgh</a> return {doubled} $a");
    assert!(value(&text).starts_with("KN0214"));
    let doubled = "let $a := ($a, $a) return ".repeat(20);
    assert!(value(&format!("let $a := (1, 2) return {doubled} $a")).starts_with("KN0214"));
    let big = Fragment::from_text(&"x".repeat(RESULT_BYTES_MAX));
    let variables = [("a", &big)];
    let document = Document { root: "n", variables: &variables };
    assert_eq!(compile("/n/a").unwrap().evaluate(&document), Ok(big.clone()));
    assert_eq!(
        compile("<b>{/n/a/text()}!</b>").unwrap().evaluate(&document),
        Err(Error::ResultTooLarge { limit: RESULT_BYTES_MAX })
    );
    let deep = "<a>".repeat(ELEMENT_DEPTH_MAX as usize) + &"</a>".repeat(ELEMENT_DEPTH_MAX as usize);
    let deep = Fragment::parse(&deep).unwrap();
    let variables = [("a", &deep)];
    let document = Document { root: "n", variables: &variables };
    assert_eq!(compile("/n/a").unwrap().evaluate(&document), Ok(deep.clone()));
    assert_eq!(
        compile("<b>{/n/a}</b>").unwrap().evaluate(&document),
        Err(Error::ResultTooDeep { limit: ELEMENT_DEPTH_MAX })
    );
}

#[test]
fn each_byte_and_node_that_is_looked_at_costs_a_part_of_a_step() {
    let steps = |text: &str, value: &Fragment| {
        let variables = [("a", value)];
        let document = Document { root: "n", variables: &variables };
        let (given, cost) = compile(text).unwrap().evaluate_counted(&document);
        assert!(given.is_ok(), "{given:?}");
        cost.steps
    };
    let long = "x".repeat(64_000);
    let texts = Fragment::parse(&format!("<b>{long}</b>")).unwrap();
    let with_short = steps("/n/a/b = 'x'", &texts);
    let with_long = steps(&format!("/n/a/b = '{}'", "x".repeat(6_400)), &texts);
    assert!((1_000..1_200).contains(&with_short), "{with_short}: the text is made");
    assert!(with_long >= with_short + 200, "{with_long}: and 6,400 bytes are written and compared");
    let empty = Fragment::parse(&"<b/>".repeat(8_000)).unwrap();
    let passed = steps("string(/n/a)", &empty);
    assert!((1_000..1_100).contains(&passed), "{passed} steps for 8,000 nodes");
    // A document that alone takes more than there is is left in the middle.
    let variables = [("a", &empty)];
    let document = Document { root: "n", variables: &variables };
    let expression = compile("count(/n/a)").unwrap();
    let (given, cost) = expression.evaluate_within(&document, 5_000);
    assert!(given.is_none() && cost.all() < 1_000, "{cost:?}");
    let (given, cost) = expression.evaluate_within(&document, 10_000);
    assert!(given.is_some() && cost.data > 8_000, "{cost:?}");
}

#[test]
fn a_long_evaluation_pauses_every_so_often_and_gives_the_same() {
    let numbers = vec!["1"; 200].join(",");
    let expression =
        compile(&format!("count(for $a in ({numbers}) for $b in ({numbers}) return 1)")).unwrap();
    let document = Document { root: "n", variables: &[] };
    let pauses = std::cell::Cell::new(0_u64);
    let pause = || pauses.set(pauses.get() + 1);
    let (value, cost) = expression.evaluate_with_pauses(&document, &pause);
    assert_eq!((value, cost), expression.evaluate_counted(&document));
    let expected = cost.steps / 10_000;
    assert!(
        expected > 5 && pauses.get().abs_diff(expected) <= 1,
        "{} pauses in {} steps",
        pauses.get(),
        cost.steps
    );
    let (verdict, _) = expression.holds_with_pauses(&document, &pause);
    assert_eq!(verdict, Ok(true));
    assert!(pauses.get() >= 2 * expected - 2);
}

#[test]
fn nothing_and_control_characters_are_refused() {
    assert_eq!(value(""), "KN0200 at 0: expected an expression, found the end");
    assert_eq!(value("\u{1}"), "KN0200 at 0: '\\u{1}' has no meaning here");
    assert_eq!(value("'\u{1}'"), "KN0200 at 1: '\\u{1}' is a character that XML cannot hold");
}

/// The folder of real YAWL files, if it is there.
#[expect(clippy::disallowed_methods, reason = "the folder of the corpus is given by the environment")]
fn corpus() -> Option<PathBuf> {
    let required = std::env::var("CI").is_ok_and(|value| value == "true");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("KNHK_CORPUS_DIR").map(PathBuf::from);
    let near = ["../shared/corpora/yawl", "../../shared/corpora/yawl"].map(|path| here.join(path));
    let found = given.into_iter().chain(near).find(|path| path.is_dir());
    assert!(found.is_some() || !required, "the corpus must be there in CI");
    found
}

#[test]
fn every_expression_of_the_corpus_compiles_or_is_not_yet() {
    let mut out = std::io::stdout();
    let Some(folder) = corpus() else {
        writeln!(out, "expr: no corpus folder, nothing compared").unwrap();
        return;
    };
    let (mut compiled, mut later, mut refused) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        let Ok(document) = roxmltree::Document::parse(&source) else { continue };
        for node in document.descendants() {
            let text = match node.tag_name().name() {
                "expression" => node.attribute("query"),
                "predicate" => node.text(),
                _ => None,
            };
            match text.map(compile) {
                None => {}
                Some(Ok(expression)) => {
                    let printed = expression.to_string();
                    assert_eq!(compile(&printed).as_ref(), Ok(&expression), "{printed}");
                    compiled += 1;
                }
                Some(Err(Error::NotYet { .. })) => later += 1,
                Some(Err(error)) => {
                    refused.push(format!("{}: {}", text.unwrap_or_default(), refusal(&error)));
                }
            }
        }
    }
    writeln!(out, "expr: {compiled} expressions compiled, {later} not yet").unwrap();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(compiled > 0);
}
