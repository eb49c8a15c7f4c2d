//! Predicates and mappings: what an expression gives over a small order, or where and why it is refused.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use knhk::expr::json::{Kind, from_json, to_json};
use knhk::expr::{
    DEPTH_MAX, Document, ELEMENT_DEPTH_MAX, EXPRESSION_BYTES_MAX, Error, Expression, Fragment,
    RESULT_BYTES_MAX, STEPS_MAX, compile,
};
use proptest::prelude::*;
use serde_json::{Value, json};

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

fn check(expressions: &[&str], give: fn(&str) -> String, expected: Expect) {
    let mut out = String::new();
    for text in expressions {
        let _ = writeln!(out, "{text}\n    {}", give(text));
    }
    expected.assert_eq(&out);
}

#[test]
fn paths_pick_elements_and_text() {
    check(
        &[
            "/Net/Total",
            "/Net/Total/text()",
            "/Net/Unset",
            "/Net/Unset/text()",
            "/Net/Missing",
            "/Other/Total",
            "/Net/Order",
            "/Net/Order/*",
            "/Net/Order/Line/Item",
            "/Net/Order/Line/Item/text()",
            "/Net/Note",
            "/Net/Note/text()",
            "/Net/Note/*",
            "//Item",
            "//Order//text()",
            "/Net//Price",
            "Net/Total",
            "./Net/./Total",
            "/Net/Order/Line/Item/..",
            "/Net/Order/Line/../../Total",
            "/Net/Order/count(Line)",
            "//Net/Order/Line/string(Item)",
            "/Net/Order/Line/(Item, Count)",
            "/Net/Order/Line/(Count, Item)",
            "/Net/Order/Line/<i>{Item/text()}</i>",
            "(/Net/Total, /Net/Paid)",
            "/ Net / Total",
            "/Net/Total(: how (: much :) :)/text()",
        ],
        value,
        expect![[r#"
            /Net/Total
                8.5
            /Net/Total/text()
                8.5
            /Net/Unset
                (nothing)
            /Net/Unset/text()
                (nothing)
            /Net/Missing
                (nothing)
            /Other/Total
                (nothing)
            /Net/Order
                <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            /Net/Order/*
                <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            /Net/Order/Line/Item
                <Item>bolt</Item><Item>nut &amp; washer</Item>
            /Net/Order/Line/Item/text()
                boltnut &amp; washer
            /Net/Note
                Mind <b>the</b> gap
            /Net/Note/text()
                Mind  gap
            /Net/Note/*
                the
            //Item
                <Item>bolt</Item><Item>nut &amp; washer</Item>
            //Order//text()
                bolt1.504nut &amp; washer0.2510
            /Net//Price
                <Price>1.50</Price><Price>0.25</Price>
            Net/Total
                8.5
            ./Net/./Total
                8.5
            /Net/Order/Line/Item/..
                <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            /Net/Order/Line/../../Total
                8.5
            /Net/Order/count(Line)
                2
            //Net/Order/Line/string(Item)
                bolt nut &amp; washer
            /Net/Order/Line/(Item, Count)
                <Item>bolt</Item><Count>4</Count><Item>nut &amp; washer</Item><Count>10</Count>
            /Net/Order/Line/(Count, Item)
                <Item>bolt</Item><Count>4</Count><Item>nut &amp; washer</Item><Count>10</Count>
            /Net/Order/Line/<i>{Item/text()}</i>
                <i>bolt</i><i>nut &amp; washer</i>
            (/Net/Total, /Net/Paid)
                <Total>8.5</Total><Paid>true</Paid>
            / Net / Total
                8.5
            /Net/Total(: how (: much :) :)/text()
                8.5
        "#]],
    );
}

#[test]
fn constructors_build_content() {
    check(
        &[
            "<a>4</a>",
            "<a/>",
            "<Total>{/Net/Total/text()}</Total>",
            "<Order>{/Net/Order/*}</Order>",
            "<x>{/Net/Order}</x>",
            "<c><d>{fn:boolean(/Net/Paid/text())}</d><e/> <f>P{/Net/Total/text()}D</f></c>",
            "<a>{1, 'b', true()}</a>",
            "<a>{1}{2}</a>",
            "<a> {1} {2} </a>",
            "<a> x {1} y </a>",
            "<a>&#32;<b/></a>",
            "<a>&#32;</a>",
            "<a><![CDATA[<&>]]></a>",
            "<a>{{1}}<!-- no --><?no no?>&lt;&gt;&amp;&quot;&apos;&#x41;</a>",
            "<a>{}</a>",
            "<a>{()}</a>",
            "<a>{/Net/Unset}</a>",
            "<a>{for $l in /Net/Order/Line return <l>{$l/Item/text()}</l>}</a>",
            "<a>{/}</a>",
            "<a>{<b>{<c/>}</b>}</a>",
            "(<a>1</a>, <b/>, 2, 3, <c/>)",
            "('a', 'b', 3)",
        ],
        value,
        expect![[r#"
            <a>4</a>
                4
            <a/>
                (nothing)
            <Total>{/Net/Total/text()}</Total>
                8.5
            <Order>{/Net/Order/*}</Order>
                <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            <x>{/Net/Order}</x>
                <Order><Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line></Order>
            <c><d>{fn:boolean(/Net/Paid/text())}</d><e/> <f>P{/Net/Total/text()}D</f></c>
                <d>true</d><e/><f>P8.5D</f>
            <a>{1, 'b', true()}</a>
                1 b true
            <a>{1}{2}</a>
                12
            <a> {1} {2} </a>
                12
            <a> x {1} y </a>
                " x 1 y "
            <a>&#32;<b/></a>
                <b/>
            <a>&#32;</a>
                " "
            <a><![CDATA[<&>]]></a>
                &lt;&amp;&gt;
            <a>{{1}}<!-- no --><?no no?>&lt;&gt;&amp;&quot;&apos;&#x41;</a>
                {1}&lt;&gt;&amp;"'A
            <a>{}</a>
                (nothing)
            <a>{()}</a>
                (nothing)
            <a>{/Net/Unset}</a>
                <Unset/>
            <a>{for $l in /Net/Order/Line return <l>{$l/Item/text()}</l>}</a>
                <l>bolt</l><l>nut &amp; washer</l>
            <a>{/}</a>
                <Net><Order><Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line></Order><Paid>true</Paid><Total>8.5</Total><Note>Mind <b>the</b> gap</Note><Unset/></Net>
            <a>{<b>{<c/>}</b>}</a>
                <b><c/></b>
            (<a>1</a>, <b/>, 2, 3, <c/>)
                <a>1</a><b/>2 3<c/>
            ('a', 'b', 3)
                a b 3
        "#]],
    );
}

#[test]
fn numbers_are_exact_until_text_makes_them_double() {
    check(
        &[
            "1 + 2 * 3 - 4",
            "0.1 + 0.2",
            "0.1e0 + 0.2e0",
            "7 div 2",
            "1 div 3",
            "-7 idiv 2",
            "-7 mod 2",
            "7.5 mod 2",
            "6 div 3",
            "1.50",
            "-(-3)",
            "- -3",
            "2 - -3",
            "/Net/Total + 1",
            "/Net/Total/text() * 2",
            "/Net/Unset/text() + 1",
            "999999e0",
            "/Net/Total * 1000000",
            "1e-7",
            "1 div 0",
            "1 mod 0",
            "1e0 div 0",
            "-1e0 div 0",
            "0e0 div 0",
            "5e0 idiv 0",
            "1e30 idiv 7",
            "1e200 idiv 1",
            "170141183460469231731687303715884105727",
            "170141183460469231731687303715884105728",
            "170141183460469231731687303715884105727 + 1",
            "1.0000000000000000001",
            "1e999",
            "number('x')",
            "number('12.50')",
            "number(/Net/Missing)",
            "number(true())",
            "sum(/Net/Order/Line/Count)",
            "sum((1, 2.5))",
            "sum(())",
            "sum(for $l in /Net/Order/Line return $l/Price * $l/Count)",
            "count(/Net/Order/Line)",
            "'1' + 1",
            "true() + 1",
            "/Net/Paid + 1",
            "/Net/Order/Line/Count + 1",
        ],
        value,
        expect![[r#"
            1 + 2 * 3 - 4
                3
            0.1 + 0.2
                0.3
            0.1e0 + 0.2e0
                0.30000000000000004
            7 div 2
                3.5
            1 div 3
                0.333333333333333333
            -7 idiv 2
                -3
            -7 mod 2
                -1
            7.5 mod 2
                1.5
            6 div 3
                2
            1.50
                1.5
            -(-3)
                3
            - -3
                3
            2 - -3
                5
            /Net/Total + 1
                9.5
            /Net/Total/text() * 2
                17
            /Net/Unset/text() + 1
                (nothing)
            999999e0
                999999
            /Net/Total * 1000000
                8.5E6
            1e-7
                1.0E-7
            1 div 0
                KN0212 at 2: division by zero
            1 mod 0
                KN0212 at 2: division by zero
            1e0 div 0
                INF
            -1e0 div 0
                -INF
            0e0 div 0
                NaN
            5e0 idiv 0
                KN0212 at 4: division by zero
            1e30 idiv 7
                142857142857142850000000000000
            1e200 idiv 1
                KN0213 at 6: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            170141183460469231731687303715884105727
                170141183460469231731687303715884105727
            170141183460469231731687303715884105728
                KN0213 at 0: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            170141183460469231731687303715884105727 + 1
                KN0213 at 40: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            1.0000000000000000001
                KN0213 at 0: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            1e999
                KN0213 at 0: number out of range: exact numbers have at most 38 digits, 18 of them after the point
            number('x')
                NaN
            number('12.50')
                12.5
            number(/Net/Missing)
                NaN
            number(true())
                1
            sum(/Net/Order/Line/Count)
                14
            sum((1, 2.5))
                3.5
            sum(())
                0
            sum(for $l in /Net/Order/Line return $l/Price * $l/Count)
                8.5
            count(/Net/Order/Line)
                2
            '1' + 1
                KN0210 at 4: a number is needed, not a string
            true() + 1
                KN0210 at 7: a number is needed, not a boolean
            /Net/Paid + 1
                KN0211 at 10: "true" is not a number
            /Net/Order/Line/Count + 1
                KN0210 at 22: one value is needed here, not 2
        "#]],
    );
}

#[test]
fn comparisons_follow_their_types() {
    check(
        &[
            "/Net/Paid = 'true'",
            "/Net/Paid/text() = 'false'",
            "/Net/Paid = true()",
            "/Net/Total = 8.50",
            "/Net/Total = '8.50'",
            "/Net/Total < 10",
            "/Net/Total < '10'",
            "/Net/Total/text()>=8.5 and /Net/Total/text()<9",
            "/Net/Order/Line/Count = 10",
            "/Net/Order/Line/Count != 10",
            "/Net/Order/Line/Count > 10",
            "/Net/Order/Line/Count = (1, 4)",
            "/Net/Order/Line/Count = /Net/Order/Line/Count",
            "/Net/Missing = 1",
            "/Net/Missing != 1",
            "not(/Net/Missing = 1)",
            "/Net/Unset/text() < 0",
            "/Net/Unset < 0",
            "/Net/Unset = ''",
            "/Net/Paid = 1",
            "/Net/Total = true()",
            "1 = '1'",
            "1 eq 1.0",
            "'a' lt 'b'",
            "/Net/Total eq '8.5'",
            "/Net/Total eq 8.5",
            "/Net/Order/Line/Count eq '4'",
            "() eq 1",
            "number('x') = number('x')",
            "number('x') != number('x')",
            "true() > false()",
            "1 < 2 = true()",
            "(1 < 2) = true()",
            "1 ne 2",
            "2 ge 2",
            "2 le 1",
            "2 gt 1",
        ],
        verdict,
        expect![[r#"
            /Net/Paid = 'true'
                true
            /Net/Paid/text() = 'false'
                false
            /Net/Paid = true()
                true
            /Net/Total = 8.50
                true
            /Net/Total = '8.50'
                false
            /Net/Total < 10
                true
            /Net/Total < '10'
                false
            /Net/Total/text()>=8.5 and /Net/Total/text()<9
                true
            /Net/Order/Line/Count = 10
                true
            /Net/Order/Line/Count != 10
                true
            /Net/Order/Line/Count > 10
                false
            /Net/Order/Line/Count = (1, 4)
                true
            /Net/Order/Line/Count = /Net/Order/Line/Count
                true
            /Net/Missing = 1
                false
            /Net/Missing != 1
                false
            not(/Net/Missing = 1)
                true
            /Net/Unset/text() < 0
                false
            /Net/Unset < 0
                KN0211 at 11: "" is not a number
            /Net/Unset = ''
                true
            /Net/Paid = 1
                KN0211 at 10: "true" is not a number
            /Net/Total = true()
                KN0211 at 11: "8.5" is not a boolean
            1 = '1'
                KN0210 at 2: a number cannot be compared with a string
            1 eq 1.0
                true
            'a' lt 'b'
                true
            /Net/Total eq '8.5'
                true
            /Net/Total eq 8.5
                KN0210 at 11: untyped text cannot be compared with a number
            /Net/Order/Line/Count eq '4'
                KN0210 at 22: one value is needed here, not 2
            () eq 1
                false
            number('x') = number('x')
                false
            number('x') != number('x')
                true
            true() > false()
                true
            1 < 2 = true()
                KN0200 at 6: expected an operator or the end, found =
            (1 < 2) = true()
                true
            1 ne 2
                true
            2 ge 2
                true
            2 le 1
                false
            2 gt 1
                true
        "#]],
    );
}

#[test]
fn truth_is_the_effective_boolean_value() {
    check(
        &[
            "true()",
            "false()",
            "'false'",
            "''",
            "0",
            "0.0",
            "0e0",
            "number('x')",
            "2",
            "()",
            "/Net/Unset",
            "/Net/Unset/text()",
            "/Net/Missing",
            "(/Net/Unset, 1)",
            "(1, 2)",
            "not(/Net/Missing) and exists(/Net/Unset)",
            "empty(/Net/Missing) or 1 div 0",
            "false() and 1 div 0",
            "boolean('a') and fn:not(())",
            "if (/Net/Paid = 'true') then 1 else 0",
            "if(count(/Net/Order/*)=0)then(1 div 0)else()",
            "contains(/Net/Order, 'washer')",
            "contains('abc', ())",
            "contains((), 'a')",
            "contains(12, '1')",
            "concat('a', 1, /Net/Total, ()) = 'a18.5'",
            "string(/Net/Note) = 'Mind the gap'",
            "string() = string(/)",
        ],
        verdict,
        expect![[r#"
            true()
                true
            false()
                false
            'false'
                true
            ''
                false
            0
                false
            0.0
                false
            0e0
                false
            number('x')
                false
            2
                true
            ()
                false
            /Net/Unset
                true
            /Net/Unset/text()
                false
            /Net/Missing
                false
            (/Net/Unset, 1)
                true
            (1, 2)
                KN0210 at 1: several values have no truth value
            not(/Net/Missing) and exists(/Net/Unset)
                true
            empty(/Net/Missing) or 1 div 0
                true
            false() and 1 div 0
                false
            boolean('a') and fn:not(())
                true
            if (/Net/Paid = 'true') then 1 else 0
                true
            if(count(/Net/Order/*)=0)then(1 div 0)else()
                false
            contains(/Net/Order, 'washer')
                true
            contains('abc', ())
                true
            contains((), 'a')
                false
            contains(12, '1')
                KN0210 at 0: contains() needs a string, not a number
            concat('a', 1, /Net/Total, ()) = 'a18.5'
                true
            string(/Net/Note) = 'Mind the gap'
                true
            string() = string(/)
                true
        "#]],
    );
}

#[test]
fn for_and_let_bind_names() {
    check(
        &[
            "for $l in /Net/Order/Line return $l",
            "for $l in /Net/Order/Line where $l/Count > 5 return $l/Item",
            "for $a in (1, 2), $b in (3, 4) return $a * $b",
            "for $a in (1, 2) let $b := $a + 1 where $b = 3 return concat($a, '-', $b)",
            "let $t := /Net/Total return $t + $t",
            "for $a in (1, 2) return for $a in ($a, 5) return $a",
            "for $a in $a return 1",
            "for $a in (1, 2) return $b",
            "(for $a in 1 return $a) + $a",
            "for $a at $i in (1, 2) return $i",
            "for $a in (2, 1) order by $a return $a",
            "for/if/return",
        ],
        value,
        expect![[r#"
            for $l in /Net/Order/Line return $l
                <Line><Item>bolt</Item><Price>1.50</Price><Count>4</Count></Line><Line><Item>nut &amp; washer</Item><Price>0.25</Price><Count>10</Count></Line>
            for $l in /Net/Order/Line where $l/Count > 5 return $l/Item
                nut &amp; washer
            for $a in (1, 2), $b in (3, 4) return $a * $b
                3 4 6 8
            for $a in (1, 2) let $b := $a + 1 where $b = 3 return concat($a, '-', $b)
                2-3
            let $t := /Net/Total return $t + $t
                17
            for $a in (1, 2) return for $a in ($a, 5) return $a
                1 5 2 5
            for $a in $a return 1
                KN0205 at 10: $a is not bound here
            for $a in (1, 2) return $b
                KN0205 at 24: $b is not bound here
            (for $a in 1 return $a) + $a
                KN0205 at 26: $a is not bound here
            for $a at $i in (1, 2) return $i
                KN0206 at 7: `at $position` is not supported yet
            for $a in (2, 1) order by $a return $a
                KN0206 at 17: `order by` is not supported yet
            for/if/return
                (nothing)
        "#]],
    );
}

#[test]
fn what_is_no_expression_is_refused_with_its_offset() {
    check(
        &[
            "",
            "average rating < 3 out of 5",
            "/Net/Total >",
            "(1, 2",
            "1 +",
            "1 2",
            "10div 2",
            "'abc",
            "\"a\"\"b\"",
            "'&nbsp;'",
            "'&#x0;'",
            "(: (: :)",
            "a b",
            "/Net/[",
            "/Net/Order/Line[1]",
            "/Net/text()[1]",
            "/Net/@id",
            "<a b='c'/>",
            "<a:b/>",
            "a:b",
            "child::a",
            "/Net/node()",
            "<a>",
            "<a></b>",
            "<a>}</a>",
            "<a>{1</a>",
            "<a>&</a>",
            "< 1",
            "nope(1)",
            "fn:nope(1)",
            "count()",
            "concat('a')",
            "true(1)",
            "fn:current-date()",
            "timer(Approve) = 'expired'",
            "abs(/Net/Total)",
            "xs:date('2020-01-01')",
            "1 to 3",
            "a | b",
            "some $x in a satisfies $x",
            "$x",
            "$ 1",
            "#",
            "1 = 2 = 3",
            "if (1) then 2",
            "\u{1}",
            "'\u{1}'",
            "1/Total",
            "<a/>/(/Net)",
            "/Net/(Total, 1)",
            "/Net/Order/Line/Count/text()/1/text()",
        ],
        value,
        expect![[r#"

                KN0200 at 0: expected an expression, found the end
            average rating < 3 out of 5
                KN0200 at 8: expected an operator or the end, found rating
            /Net/Total >
                KN0200 at 12: expected an expression, found the end
            (1, 2
                KN0200 at 5: expected ), found the end
            1 +
                KN0200 at 3: expected an expression, found the end
            1 2
                KN0200 at 2: expected an operator or the end, found 2
            10div 2
                KN0200 at 2: a name follows a number directly
            'abc
                KN0200 at 0: string does not end
            "a""b"
                a"b
            '&nbsp;'
                KN0200 at 1: unknown entity
            '&#x0;'
                KN0200 at 1: unknown entity
            (: (: :)
                KN0200 at 0: comment does not end
            a b
                KN0200 at 2: expected an operator or the end, found b
            /Net/[
                KN0200 at 5: expected an expression, found [
            /Net/Order/Line[1]
                KN0207 at 15: a [ ] filter is not part of this language
            /Net/text()[1]
                KN0207 at 11: a [ ] filter is not part of this language
            /Net/@id
                KN0207 at 5: an attribute is not part of this language
            <a b='c'/>
                KN0207 at 3: an attribute is not part of this language
            <a:b/>
                KN0207 at 2: a name with a prefix is not part of this language
            a:b
                KN0207 at 0: a name with a prefix is not part of this language
            child::a
                KN0207 at 0: an axis is not part of this language
            /Net/node()
                KN0207 at 5: a test of node kinds is not part of this language
            <a>
                KN0200 at 0: element a does not end
            <a></b>
                KN0200 at 3: expected </a>
            <a>}</a>
                KN0200 at 3: } closes nothing
            <a>{1</a>
                KN0200 at 8: expected an operator or }, found >
            <a>&</a>
                KN0200 at 3: unknown entity
            < 1
                KN0200 at 0: expected an expression, found <
            nope(1)
                KN0203 at 0: there is no function nope()
            fn:nope(1)
                KN0203 at 0: there is no function fn:nope()
            count()
                KN0204 at 0: count() takes one argument, not 0
            concat('a')
                KN0204 at 0: concat() takes two or more arguments, not 1
            true(1)
                KN0204 at 0: true() takes no arguments, not 1
            fn:current-date()
                KN0206 at 0: function current-date() is not supported yet
            timer(Approve) = 'expired'
                KN0206 at 0: function timer() is not supported yet
            abs(/Net/Total)
                KN0206 at 0: function abs() is not supported yet
            xs:date('2020-01-01')
                KN0206 at 0: function xs:date() is not supported yet
            1 to 3
                KN0206 at 2: operator `to` is not supported yet
            a | b
                KN0206 at 2: operator `|` is not supported yet
            some $x in a satisfies $x
                KN0206 at 0: `some` is not supported yet
            $x
                KN0205 at 0: $x is not bound here
            $ 1
                KN0200 at 0: expected a name after $
            #
                KN0200 at 0: '#' has no meaning here
            1 = 2 = 3
                KN0200 at 6: expected an operator or the end, found =
            if (1) then 2
                KN0200 at 13: expected else, found the end
            
                KN0200 at 0: '\u{1}' has no meaning here
            ''
                KN0200 at 1: '\u{1}' is a character that XML cannot hold
            1/Total
                KN0210 at 2: a step needs an element before it, not a value
            <a/>/(/Net)
                KN0210 at 6: a path from / needs an item of the data document
            /Net/(Total, 1)
                KN0210 at 5: a step gives elements or values, not both
            /Net/Order/Line/Count/text()/1/text()
                KN0210 at 31: a step needs an element before it, not a value
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
    let nested: [(&str, &str, &str); 6] = [
        ("(", "1", ")"),
        ("not(", "1", ")"),
        ("if (1) then 2 else ", "1", ""),
        ("let $a := 1 return ", "1", ""),
        ("<a>", "", "</a>"),
        ("1+(1*-", "1", ")"),
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

/// The folder of real YAWL files, if it is there.
fn corpus() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("KNHK_CORPUS_DIR").map(PathBuf::from);
    let near = ["../shared/corpora/yawl", "../../shared/corpora/yawl"].map(|path| here.join(path));
    given.into_iter().chain(near).find(|path| path.is_dir())
}

#[test]
fn every_expression_of_the_corpus_compiles_or_is_not_yet() {
    let mut out = std::io::stdout();
    let Some(folder) = corpus() else {
        writeln!(out, "expr: no corpus folder, nothing compared").unwrap();
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "the corpus must be there in CI");
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
                    refused.push(format!("{}: {}", text.unwrap_or_default(), refusal(&error)))
                }
            }
        }
    }
    writeln!(out, "expr: {compiled} expressions compiled, {later} not yet").unwrap();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(compiled > 0);
}

#[test]
fn json_is_read_in_its_documented_form() {
    let read = |value: Value| match from_json(&value) {
        Ok(fragment) => fragment.as_xml().to_owned(),
        Err(error) => format!("{}: {error}", error.code()),
    };
    assert_eq!(read(json!(null)), "");
    assert_eq!(read(json!(true)), "true");
    assert_eq!(read(json!("a < b")), "a &lt; b");
    assert_eq!(read(serde_json::from_str("1.50").unwrap()), "1.50");
    assert_eq!(
        read(serde_json::from_str("123456789012345678901234567890").unwrap()),
        "123456789012345678901234567890"
    );
    assert_eq!(read(json!({"b": 1, "a": {"c": null}})), "<b>1</b><a><c/></a>");
    assert_eq!(
        read(json!({"a": [1, {"b": 2}, []]})),
        "KN0231: array at \"/a/2\" has no element name to repeat"
    );
    assert_eq!(read(json!({"a": [1, {"b": 2}], "e": []})), "<a>1</a><a><b>2</b></a>");
    assert_eq!(read(json!([1])), "KN0231: array at \"\" has no element name to repeat");
    assert_eq!(read(json!({"a/b": {}})), "KN0230: \"a/b\" at \"\" is not an XML name");
    assert_eq!(read(json!({"a": {"1": 1}})), "KN0230: \"1\" at \"/a\" is not an XML name");
    assert_eq!(
        read(json!({"a": "\u{1}"})),
        "KN0232: string at \"/a\" has the character '\\u{1}', which XML cannot hold"
    );
    assert_eq!(read(json!({"#content": ["Mind ", {"b": "the"}, " gap"]})), "Mind <b>the</b> gap");
    assert_eq!(read(json!({"#content": [" ", {"b": 1}]})), "<b>1</b>");
    assert_eq!(
        read(json!({"#content": 1})),
        "KN0233: member #content at \"\" is not an array of strings and objects"
    );
    assert_eq!(
        read(json!({"#content": [1]})),
        "KN0233: member #content at \"/#content/0\" is not an array of strings and objects"
    );
    assert_eq!(read(json!({"#content": [], "a": 1})), "KN0230: \"#content\" at \"\" is not an XML name");
    assert_eq!(read(json!({"a": {"#xml": "x<b/>"}})), "<a>x<b/></a>");
    assert_eq!(read(json!({"#xml": 1})), "KN0233: member #xml at \"\" is not a string of well-formed XML");
    let nest = |levels: u32| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    assert!(from_json(&nest(ELEMENT_DEPTH_MAX)).is_ok());
    assert_eq!(from_json(&nest(ELEMENT_DEPTH_MAX + 1)), Err(Error::DataTooDeep { limit: ELEMENT_DEPTH_MAX }));
    assert_eq!(read(json!("x".repeat(RESULT_BYTES_MAX))).len(), RESULT_BYTES_MAX);
    assert!(read(json!("x".repeat(RESULT_BYTES_MAX + 1))).starts_with("KN0223"));
}

#[test]
fn json_is_written_by_declared_type() {
    let write = |content: &str, kind| to_json(&Fragment::parse(content).unwrap(), kind).to_string();
    assert_eq!(write("", Kind::Number), "null");
    assert_eq!(write("1.50", Kind::Number), "1.50");
    assert_eq!(write("1.50", Kind::Text), "\"1.50\"");
    assert_eq!(write("007", Kind::Number), "\"007\"");
    assert_eq!(write("true", Kind::Boolean), "true");
    assert_eq!(write("1", Kind::Boolean), "\"1\"");
    assert_eq!(
        write(ORDER, Kind::Text),
        "{\"Line\":[{\"Item\":\"bolt\",\"Price\":\"1.50\",\"Count\":\"4\"},{\"Item\":\"nut & washer\",\"Price\":\"0.25\",\"Count\":\"10\"}]}"
    );
    assert_eq!(
        write("<a/><b/><a>1</a>", Kind::Text),
        "{\"#content\":[{\"a\":null},{\"b\":null},{\"a\":\"1\"}]}"
    );
    assert_eq!(write("x<a/>", Kind::Text), "{\"#content\":[\"x\",{\"a\":null}]}");
    let deep =
        (0..100).fold(Fragment::empty(), |inner, _| Fragment::from_children(&[("a".to_owned(), inner)]));
    assert!(to_json(&deep, Kind::Text).to_string().contains("#xml"));
}

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
            let value = to_json(&fragment, kind);
            let sent: Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(&from_json(&sent).unwrap(), &fragment);
            prop_assert_eq!(to_json(&from_json(&sent).unwrap(), kind), value);
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
