//! How control moves: sequence, choice, remove sets, joins, waves.

use expect_test::expect;
use knhk::case::Command;
use knhk::case::view::CaseState;
use knhk::engine::turn::{Cases, Job, Mix, Outcome, Registered, Timer, What};
use knhk::expr::Fragment;
use knhk::id::{CaseId, SpecNumber, Time};
use knhk::kernel::WAVE_STEPS_MAX;

use super::check;
use crate::support::driver::{LIMITS, workflow};
use crate::support::sketch;

#[test]
fn a_sequence_runs_to_its_end() {
    check(
        "net N
         i > a
         a manual xor and > b
         b manual xor and > o",
        "create
         start a
         complete a
         complete b",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              offered item=1 task=a
            = running (i) enabled a
            > start a
              entered task=a taken=i
              started item=1 task=a
            = running () busy a
            > complete a
              completed item=1 task=a
              left task=a put=c{a_b}
              offered item=2 task=b
            = running (c{a_b}) enabled b
            > complete b
              started item=2 task=b
              completed item=2 task=b
              passed task=b taken=c{a_b} put=o
              closed how=completed
            = completed ()
        "#]],
    );
}

#[test]
fn or_split_takes_every_true_branch_and_the_default_only_when_none_is() {
    let net = "net N
         in x integer
         i > a
         a auto xor or > b c d
           when b /N/x > 1
           when c /N/x > 2
         b manual xor and > o
         c manual xor and > o
         d manual xor and > o";
    check(
        net,
        "create <x>3</x>",
        expect![[r#"
        > create <x>3</x>
          created workflow=sketch
          opened net=N number=0 data={x:3}
          passed task=a taken=i put=c{a_b},c{a_c},c{a_d}
          offered item=1 task=b
          offered item=2 task=c
          offered item=3 task=d
        = running (c{a_b} c{a_c} c{a_d}) enabled b,c,d {x:3}
    "#]],
    );
    check(
        net,
        "create <x>2</x>",
        expect![[r#"
        > create <x>2</x>
          created workflow=sketch
          opened net=N number=0 data={x:2}
          passed task=a taken=i put=c{a_b},c{a_d}
          offered item=1 task=b
          offered item=2 task=d
        = running (c{a_b} c{a_d}) enabled b,d {x:2}
    "#]],
    );
}

#[test]
fn starting_one_task_of_a_deferred_choice_withdraws_the_others() {
    check(
        "net N
         i > a b
         a manual xor and > o
         b manual xor and > o",
        "create
         both start a; start b
         complete b
         complete a",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              offered item=1 task=a
              offered item=2 task=b
            = running (i) enabled a,b
            > both start a; start b
              refused KN0351: there is no such work item: it never was, or it is finished or withdrawn
              entered task=a taken=i
              started item=1 task=a
              withdrawn item=2 task=b why=another task of the choice took the token
            = running () busy a
            > complete b
              refused KN0351: there is no such work item: it never was, or it is finished or withdrawn
            = running () busy a
            > complete a
              completed item=1 task=a
              left task=a put=o
              closed how=completed
            = completed ()
        "#]],
    );
}

#[test]
fn a_choice_that_holds_a_composite_or_empty_task_is_made_at_once() {
    check(
        "net N
         i > m e c
         m manual xor and > o
         e empty xor and > o
         c net:M xor and > o
         net M
         j > w
         w manual xor and > o",
        "create
         complete w",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              entered task=c taken=i
              opened task=c net=M number=1
              offered item=1 task=w instance=1
            = running () busy c [c #1: (j) enabled w]
            > complete w
              started item=1 task=w instance=1
              completed item=1 task=w instance=1
              passed task=w instance=1 taken=j put=o
              ended instance=1 how=completed
              left task=c put=o
              closed how=completed
            = completed ()
        "#]],
    );
}

#[test]
fn remove_sets_cancel_items_and_subnets_before_tokens_are_made() {
    check(
        "net N
         i > s
         s empty xor and > x y z
         x manual xor and > c1
         y manual xor and > c1
         z net:M xor and > c1
         c1 > d
         d manual xor and > o
           removes c1 y z
           removes-flow s x
         net M
         j > w
         w manual xor and > v
         v manual xor and > o",
        "create
         start y
         complete x
         complete w
         start v
         complete d",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=s taken=i put=c{s_x},c{s_y},c{s_z}
              entered task=z taken=c{s_z}
              opened task=z net=M number=1
              offered item=1 task=x
              offered item=2 task=y
              offered item=3 task=w instance=1
            = running (c{s_x} c{s_y}) busy z enabled x,y [z #1: (j) enabled w]
            > start y
              entered task=y taken=c{s_y}
              started item=2 task=y
            = running (c{s_x}) busy y,z enabled x [z #1: (j) enabled w]
            > complete x
              started item=1 task=x
              completed item=1 task=x
              passed task=x taken=c{s_x} put=c1
              offered item=4 task=d
            = running (c1) busy y,z enabled d [z #1: (j) enabled w]
            > complete w
              started item=3 task=w instance=1
              completed item=3 task=w instance=1
              passed task=w instance=1 taken=j put=c{w_v}
              offered item=5 task=v instance=1
            = running (c1) busy y,z enabled d [z #1: (c{w_v}) enabled v]
            > start v
              entered task=v instance=1 taken=c{w_v}
              started item=5 task=v instance=1
            = running (c1) busy y,z enabled d [z #1: () busy v]
            > complete d
              started item=4 task=d
              completed item=4 task=d
              passed task=d taken=c1 put=o
              withdrawn item=2 task=y why=a remove set reached its task
              withdrawn item=5 task=v instance=1 why=its net was cancelled
              ended instance=1 how=cancelled
              closed how=completed
            = completed ()
        "#]],
    );
}

#[test]
fn a_task_whose_remove_set_holds_its_own_output_leaves_its_new_token() {
    check(
        "net N
         i > a
         a empty xor and > c1 b
         b manual and and > c1
           removes c1
         c1 > d
         d manual xor and > o",
        "create
         complete b
         complete d",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=a taken=i put=c1,c{a_b}
              offered item=1 task=b
              offered item=2 task=d
            = running (c1 c{a_b}) enabled b,d
            > complete b
              started item=1 task=b
              completed item=1 task=b
              passed task=b taken=c{a_b} removed=c1 put=c1
            = running (c1) enabled d
            > complete d
              started item=2 task=d
              completed item=2 task=d
              passed task=d taken=c1 put=o
              closed how=completed
            = completed ()
        "#]],
    );
}

#[test]
fn a_net_completes_as_soon_as_its_output_is_marked() {
    check(
        "net N
         i > s
         s empty xor and > a b c
         a manual xor and > o
         b manual xor and > o
         c net:M xor and > o
         net M
         j > w
         w manual xor and > o",
        "create
         start b
         complete a
         complete b",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=s taken=i put=c{s_a},c{s_b},c{s_c}
              entered task=c taken=c{s_c}
              opened task=c net=M number=1
              offered item=1 task=a
              offered item=2 task=b
              offered item=3 task=w instance=1
            = running (c{s_a} c{s_b}) busy c enabled a,b [c #1: (j) enabled w]
            > start b
              entered task=b taken=c{s_b}
              started item=2 task=b
            = running (c{s_a}) busy b,c enabled a [c #1: (j) enabled w]
            > complete a
              started item=1 task=a
              completed item=1 task=a
              passed task=a taken=c{s_a} put=o
              withdrawn item=2 task=b why=its net completed
              withdrawn item=3 task=w instance=1 why=its net completed
              ended instance=1 how=cancelled
              closed how=completed with tokens left
            = completed ()
            > complete b
              refused KN0352: the case is completed
            = completed ()
        "#]],
    );
}

#[test]
fn two_tokens_give_one_enabling_at_a_time() {
    check(
        "net N
         i > s
         s empty xor and > a b
         a empty xor and > c1
         b empty xor and > c1
         c1 > m
         m manual xor and > c2
         c2 > n
         n manual and and > o",
        "create
         start m
         complete m
         start n",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=s taken=i put=c{s_a},c{s_b}
              passed task=a taken=c{s_a} put=c1
              passed task=b taken=c{s_b} put=c1
              offered item=1 task=m
            = running (c1*2) enabled m
            > start m
              entered task=m taken=c1
              started item=1 task=m
            = running (c1) busy m
            > complete m
              completed item=1 task=m
              left task=m put=c2
              offered item=2 task=m
              offered item=3 task=n
            = running (c1 c2) enabled m,n
            > start n
              entered task=n taken=c2
              started item=3 task=n
            = running (c1) busy n enabled m
        "#]],
    );
}

/// Two branches that may join, and a cycle before the join that keeps it from being judged by a bit test.
const OR_JOIN: &str = "net N
     i > s
     s empty xor and > a b
     a manual xor and > c1
     b manual xor xor > c2 b2
       when c2 true()
     b2 manual xor and > b
     c1 > j
     c2 > j
     j manual or and > o";

#[test]
fn an_or_join_waits_for_what_may_still_come() {
    check(
        OR_JOIN,
        "create
         complete a
         complete b",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=s taken=i put=c{s_a},c{s_b}
              offered item=1 task=a
              offered item=2 task=b
            = running (c{s_a} c{s_b}) enabled a,b
            > complete a
              started item=1 task=a
              completed item=1 task=a
              passed task=a taken=c{s_a} put=c1
            = running (c1 c{s_b}) enabled b
            > complete b
              started item=2 task=b
              completed item=2 task=b
              passed task=b taken=c{s_b} put=c2
              offered item=3 task=j
            = running (c1 c2) enabled j
        "#]],
    );
}

#[test]
fn an_or_join_beyond_the_bound_on_the_spot_parks_its_case() {
    check(
        OR_JOIN,
        "limit states 0
         create
         complete a
         start b
         judged waits
         start b
         judged enabled
         reload
         complete b
         continue",
        expect![[r#"
            > limit states 0
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=s taken=i put=c{s_a},c{s_b}
              offered item=1 task=a
              offered item=2 task=b
            = running (c{s_a} c{s_b}) enabled a,b
            > complete a
              parked at j
              started item=1 task=a
              completed item=1 task=a
              passed task=a taken=c{s_a} put=c1
              unfinished
            = running (c1 c{s_b}) enabled b
            > start b
              held
            = running (c1 c{s_b}) enabled b
            > judged waits
            = running (c1 c{s_b}) enabled b
            > start b
              parked at j
              entered task=b taken=c{s_b}
              started item=2 task=b
              unfinished
            = running (c1) busy b
            > judged enabled
              offered item=3 task=j join=no more tokens can come
            = running (c1) busy b enabled j
            > reload
            = running (c1) busy b enabled j
            > complete b
              held
            = running (c1) busy b enabled j
            > continue
            = running (c1) busy b enabled j
        "#]],
    );
    check(
        OR_JOIN,
        "limit states 0
         create
         complete a
         judged undecided
         retry
         complete b",
        expect![[r#"
            > limit states 0
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=s taken=i put=c{s_a},c{s_b}
              offered item=1 task=a
              offered item=2 task=b
            = running (c{s_a} c{s_b}) enabled a,b
            > complete a
              parked at j
              started item=1 task=a
              completed item=1 task=a
              passed task=a taken=c{s_a} put=c1
              unfinished
            = running (c1 c{s_b}) enabled b
            > judged undecided
              incident incident=1 task=j kind=undecided detail=the OR-join of task "j" could not be judged within its bound of states
            = incident (c1 c{s_b}) enabled b !undecided at j
            > retry
              cleared incident=1
              incident incident=2 task=j kind=undecided detail=the OR-join of task "j" could not be judged within its bound of states
            = incident (c1 c{s_b}) enabled b !undecided at j
            > complete b
              started item=2 task=b
              completed item=2 task=b
              passed task=b taken=c{s_b} put=c2
              cleared incident=2
              offered item=3 task=j
            = running (c1 c2) enabled j
        "#]],
    );
}

#[test]
fn cases_share_waves_and_answers_come_in_order() {
    let source = sketch::xml("net N\n i > a\n a manual xor and > b\n b manual xor and > o");
    let registered = Registered {
        number: SpecNumber(1),
        version: 1,
        workflow: std::sync::Arc::new(workflow(source.as_bytes()).unwrap()),
    };
    let mut cases = Cases::new();
    let mut waves = Waves::default();
    let create = |id| {
        let create = Command::Create { spec: SpecNumber(1), business_key: None, data: Fragment::empty() };
        Job { registered: Some(registered.clone()), ..Job::new(CaseId(id), What::Command(create)) }
    };
    let complete = |id, item| Job::new(CaseId(id), What::Command(Command::Complete(item, Fragment::empty())));
    let count = u64::try_from(WAVE_STEPS_MAX).unwrap() + 10;
    let outcomes = cases.turn(Time(1), (0..count).map(create).collect(), &LIMITS, &mut waves);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(_))));
    // Both tasks of every case and a third that is not there: two steps a case, one a wave.
    let jobs = (0..count).flat_map(|id| [complete(id, 1), complete(id, 2), complete(id, 3)]).collect();
    let outcomes = cases.turn(Time(2), jobs, &LIMITS, &mut waves);
    for outcomes in outcomes.chunks(3) {
        let [Outcome::Done(first), Outcome::Done(second), Outcome::Refused(_)] = outcomes else {
            panic!("{outcomes:?}")
        };
        assert_eq!((first.state, first.tally.tasks_completed), (CaseState::Running, 1));
        assert_eq!((second.state, second.tally.completed), (CaseState::Completed, 1));
    }
    assert_eq!(waves.0, [WAVE_STEPS_MAX, 10, WAVE_STEPS_MAX, 10]);
}

/// Notes how many steps each wave has.
#[derive(Default)]
struct Waves(Vec<usize>);

impl Timer for Waves {
    fn around(&mut self, mix: Mix, run: impl FnOnce()) {
        self.0.push(mix.steps);
        run();
    }
}
