//! What is bounded, and what happens at the bound.

use expect_test::expect;
use knhk::case::{Command, DATA_BYTES_MAX, Error};
use knhk::engine::turn::Outcome;
use knhk::expr::Fragment;

use super::check;
use crate::support::driver::{Driver, play, workflow};
use crate::support::sketch;

#[test]
fn a_chain_of_automated_tasks_ends_at_its_limit() {
    check(
        "net N
         i > a
         a auto xor and > c1
         c1 > b
         b auto xor xor > c1 o
           when c1 true()",
        "limit steps 3
         create
         retry
         execute
         cancel",
        expect![[r#"
            > limit steps 3
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=a taken=i put=c1
              passed task=b taken=c1 put=c1
              passed task=b taken=c1 put=c1
              incident incident=1 kind=chain detail=3 tasks ran one after the other without anybody's doing
            = incident (c1) enabled b !chain
            > retry
              cleared incident=1
              passed task=b taken=c1 put=c1
              passed task=b taken=c1 put=c1
              passed task=b taken=c1 put=c1
              incident incident=2 kind=chain detail=3 tasks ran one after the other without anybody's doing
            = incident (c1) enabled b !chain
            > execute
            = incident (c1) enabled b !chain
            > cancel
              closed how=cancelled reason=
            = cancelled ()
        "#]],
    );
}

#[test]
fn a_command_whose_facts_fill_a_frame_goes_on_in_the_next() {
    check(
        "net N
         i > a
         a auto xor and > b
         b auto xor and > m
         m manual xor and > o",
        "limit bytes 20
         create
         complete m
         continue
         continue
         complete m
         continue",
        expect![[r#"
            > limit bytes 20
            > create
              unfinished
              created workflow=sketch
              opened net=N number=0
              passed task=a taken=i put=c{a_b}
              passed task=b taken=c{a_b} put=c{b_m}
              unfinished
            = running (c{b_m})
            > complete m
              held
            = running (c{b_m})
            > continue
              offered item=1 task=m
            = running (c{b_m}) enabled m
            > continue
            = running (c{b_m}) enabled m
            > complete m
              started item=1 task=m
              completed item=1 task=m
              passed task=m taken=c{b_m} put=o
              closed how=completed
            = completed ()
            > continue
            = completed ()
        "#]],
    );
}

#[test]
fn a_step_that_no_frame_holds_is_refused_or_an_incident() {
    check(
        "net N
         in x string
         i > a
         a manual xor and > b
           take x string x /a/x
         b auto xor and > o
           give x string concat(/N/x, /N/x, /N/x, /N/x)
           take x string x /b/x",
        "limit bytes 40
         create <x>0123456789012345678901234567890123456789</x>
         create
         limit bytes 100
         complete a <x>01234567890123456789012345678901234567890123456789</x>
         complete a <x>012345678901234567890123456789</x>
         retry
         limit bytes 20
         cancel a reason that is longer than the limit",
        expect![[r#"
            > limit bytes 40
            > create <x>0123456789012345678901234567890123456789</x>
              refused KN0365: one step takes 51 bytes, and 40 are the most it may
            > create
              created workflow=sketch
              opened net=N number=0
              offered item=1 task=a
            = running (i) enabled a
            > limit bytes 100
            = running (i) enabled a
            > complete a <x>01234567890123456789012345678901234567890123456789</x>
              refused KN0365: one step takes 114 bytes, and 100 are the most it may
            = running (i) enabled a
            > complete a <x>012345678901234567890123456789</x>
              started item=1 task=a
              completed item=1 task=a data={x:012345678901234567890123456789}
              passed task=a taken=i put=c{a_b} data={x:012345678901234567890123456789}
              incident incident=1 task=b kind=data detail=one step takes 120 bytes, and 100 are the most it may
            = incident (c{a_b}) enabled b {x:012345678901234567890123456789} !data at b
            > retry
              cleared incident=1
              incident incident=2 task=b kind=data detail=one step takes 120 bytes, and 100 are the most it may
            = incident (c{a_b}) enabled b {x:012345678901234567890123456789} !data at b
            > limit bytes 20
            = incident (c{a_b}) enabled b {x:012345678901234567890123456789} !data at b
            > cancel a reason that is longer than the limit
              closed how=cancelled reason=a reason that is longer than the limit
            = cancelled () {x:012345678901234567890123456789}
        "#]],
    );
}

#[test]
fn the_data_of_a_net_is_bounded() {
    let net = "net N
         in x string
         in y string
         i > a
         a manual xor and > o
           take v1 string x /a/v1
           take v2 string y /a/v2";
    let mut driver = Driver::new(workflow(sketch::xml(net).as_bytes()).unwrap());
    let half = "x".repeat(DATA_BYTES_MAX / 2);
    let given = |more: &str| {
        let fields = [("x", half.clone()), ("y", format!("{half}{more}"))];
        let fields = fields.map(|(name, value)| (name.to_owned(), Fragment::from_text(&value)));
        Fragment::from_children(&fields)
    };
    let outcome = driver.create(given("y"));
    assert!(matches!(outcome, Outcome::Refused(Error::TooLarge { .. })), "{outcome:?}");
    let outcome = driver.create(given(""));
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

#[test]
fn subnets_nest_to_their_limit() {
    let net = "net N
         i > a
         a auto xor and > deeper
         deeper net:N xor and > o";
    let text = play(&sketch::xml(net), "create\n reload\n continue");
    let last = text.lines().last().unwrap();
    assert_eq!(last.matches("[deeper #").count(), knhk::case::duty::NESTING_MAX, "{last}");
    assert!(last.ends_with("!nesting at deeper"), "{last}");
}

#[test]
fn net_instances_of_a_case_are_bounded() {
    let net = "net N
         i > s
         s auto xor and > x y
         x net:N xor and > o
         y net:N xor and > o";
    let text = play(&sketch::xml(net), "create");
    let last = text.lines().last().unwrap();
    assert_eq!(last.matches(" #").count() + 1, knhk::case::duty::INSTANCES_MAX);
}

/// Every pass of `a` leaves a token on c2.
const FILLING: &str = "net N
     i > a
     a KIND xor and > i2 c2
     i2 > a
     c2 > b
     b manual and and > o";

#[test]
fn a_place_that_can_hold_no_more_tokens_is_an_incident_of_an_automatic_task() {
    let text = play(&sketch::xml(&FILLING.replace("KIND", "auto")), "create");
    let last = text.lines().last().unwrap();
    assert_eq!(last, "= incident (c2*255 i2) enabled a,b !tokens at a");
}

#[test]
fn a_place_that_can_hold_no_more_tokens_refuses_the_command() {
    let mut script = "create\n".to_owned();
    script.push_str(&"complete a\n".repeat(255));
    let before = play(&sketch::xml(&FILLING.replace("KIND", "manual")), &script);
    assert!(before.ends_with("= running (c2*255 i2) enabled a,b\n"), "{before}");
    script.push_str("complete a\n");
    let after = play(&sketch::xml(&FILLING.replace("KIND", "manual")), &script);
    assert_eq!(
        after.strip_prefix(&before),
        Some(
            "> complete a\n  refused KN0358: task \"a\" would put more tokens on a place than it can hold\n\
             = running (c2*255 i2) enabled a,b\n"
        )
    );
}

#[test]
fn a_marking_of_bits_goes_over_to_counters_when_a_second_token_comes() {
    let mut workflow = workflow(sketch::xml(&FILLING.replace("KIND", "manual")).as_bytes()).unwrap();
    // No net that is shown safe gets a second token; one that only says so must not lose it.
    std::sync::Arc::get_mut(&mut workflow.nets[0]).unwrap().is_safe = true;
    let mut driver = Driver::new(workflow);
    driver.create(Fragment::empty());
    for _ in 0..3 {
        let item = driver.item("a", None).unwrap();
        let outcome = driver.command(Command::Complete(item, Fragment::empty()));
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
    let marking = driver.view().unwrap().root.marking;
    assert_eq!(marking, [("c2".to_owned(), 3), ("i2".to_owned(), 1)]);
}
