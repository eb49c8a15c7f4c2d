//! What cases do: a net and commands in, history and state out.
#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]

mod random;

use expect_test::{Expect, expect};

use knhk::case::event::End;
use knhk::case::row::Status;
use knhk::case::view::CaseState;
use knhk::case::{Command, DATA_BYTES_MAX, Error};
use knhk::engine::turn::{Cases, Job, Outcome, Registered, Rows, Timer, What};
use knhk::expr::Fragment;
use knhk::id::{CaseId, SpecNumber, Time};
use knhk::kernel::WAVE_STEPS_MAX;

use crate::support::driver::{Driver, LIMITS, play, workflow};
use crate::support::sketch;

/// Plays a script on the case of a sketched net (`support::sketch`, `support::driver`) and compares the tale.
fn check(net: &str, script: &str, expected: Expect) {
    expected.assert_eq(&play(&sketch::xml(net), script));
}

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
fn data_decides_a_choice() {
    check(
        "net N
         in limit integer
         var sum integer 1
         i > a
         a manual xor xor > big small
           when big /N/sum > /N/limit
           give asked integer /N/limit
           take sum integer sum /a/sum
         big manual xor and > o
         small manual xor and > o",
        "create <limit>10</limit>
         start a
         complete a <sum>11</sum>
         cancel enough
         start big",
        expect![[r#"
            > create <limit>10</limit>
              created workflow=sketch
              opened net=N number=0 data={limit:10, sum:1}
              offered item=1 task=a
            = running (i) enabled a {limit:10, sum:1}
            > start a
              entered task=a taken=i
              started item=1 task=a data={asked:10}
            = running () busy a {limit:10, sum:1}
            > complete a <sum>11</sum>
              completed item=1 task=a data={sum:11}
              left task=a put=c{a_big} data={sum:11}
              offered item=2 task=big
            = running (c{a_big}) enabled big {limit:10, sum:11}
            > cancel enough
              withdrawn item=2 task=big why=its net was cancelled
              closed how=cancelled reason=enough
            = cancelled () {limit:10, sum:11}
            > start big
              refused KN0352: the case is cancelled
            = cancelled () {limit:10, sum:11}
        "#]],
    );
    check(
        "net N
         var sum integer 1
         i > a
         a manual xor xor > big small
           when big /N/sum > 10
           take sum integer sum /a/sum
         big manual xor and > o
         small manual xor and > o",
        "create
         complete a <sum>10</sum>",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0 data={sum:1}
              offered item=1 task=a
            = running (i) enabled a {sum:1}
            > complete a <sum>10</sum>
              started item=1 task=a
              completed item=1 task=a data={sum:10}
              passed task=a taken=i put=c{a_small} data={sum:10}
              offered item=2 task=small
            = running (c{a_small}) enabled small {sum:10}
        "#]],
    );
}

#[test]
fn a_mapping_with_an_empty_result_leaves_its_variable_unset() {
    check(
        "net N
         var x integer 1
         var y string old
         i > a
         a manual xor and > b
           take x integer x /a/x
           take y string y <y>{/a/y/text()}</y>
         b manual xor and > o",
        "create
         complete a <x>2</x>",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0 data={x:1, y:old}
              offered item=1 task=a
            = running (i) enabled a {x:1, y:old}
            > complete a <x>2</x>
              started item=1 task=a
              completed item=1 task=a data={x:2}
              passed task=a taken=i put=c{a_b} data={x:2, y:}
              offered item=2 task=b
            = running (c{a_b}) enabled b {x:2}
        "#]],
    );
}

#[test]
fn wrong_data_is_refused_and_changes_nothing() {
    check(
        "net N
         in n int
         in when date
         i > a
         a manual xor and > o
           give half integer /N/n div 2
           take n int n /a/n",
        "create <n>many</n>
         create <m>1</m>
         create <n>1</n><n>2</n>
         create <n>3</n>
         start a
         complete a <n>3000000000</n>
         complete a <n>1.5</n>
         complete a <k>1</k>
         complete a <n><deep/></n>
         skip a cannot be done",
        expect![[r#"
            > create <n>many</n>
              refused KN0356: "n" takes a whole number from -2147483648 to 2147483647, not "many"
            > create <m>1</m>
              refused KN0355: there is no parameter "m"; there are: "n", "when"
            > create <n>1</n><n>2</n>
              refused KN0360: parameter "n" is given twice
            > create <n>3</n>
              created workflow=sketch
              opened net=N number=0 data={n:3}
              offered item=1 task=a
            = running (i) enabled a {n:3}
            > start a
              refused KN0356: "half" takes a whole number, not "1.5"
            = running (i) enabled a {n:3}
            > complete a <n>3000000000</n>
              refused KN0356: "n" takes a whole number from -2147483648 to 2147483647, not "3000000000"
            = running (i) enabled a {n:3}
            > complete a <n>1.5</n>
              refused KN0356: "n" takes a whole number from -2147483648 to 2147483647, not "1.5"
            = running (i) enabled a {n:3}
            > complete a <k>1</k>
              refused KN0355: there is no parameter "k"; there are: "n"
            = running (i) enabled a {n:3}
            > complete a <n><deep/></n>
              refused KN0356: "n" takes a whole number from -2147483648 to 2147483647, not "<deep/>"
            = running (i) enabled a {n:3}
            > skip a cannot be done
              skipped item=1 task=a reason=cannot be done
              passed task=a taken=i put=o data={n:}
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
fn a_subnet_takes_its_inputs_and_gives_its_outputs() {
    check(
        "net N
         in x integer
         var y integer 7
         i > sub
         sub net:M xor and > b
           map-in p /N/x + 1
           map-out y /M/q * 2
         b manual xor and > o
         net M
         in p integer
         out q integer
         j > w
         w manual xor and > o
           take q integer q /w/q",
        "create <x>4</x>
         complete w <q>5</q>
         complete b",
        expect![[r#"
            > create <x>4</x>
              created workflow=sketch
              opened net=N number=0 data={x:4, y:7}
              entered task=sub taken=i
              opened task=sub net=M number=1 data={p:5}
              offered item=1 task=w instance=1
            = running () busy sub {x:4, y:7} [sub #1: (j) enabled w {p:5}]
            > complete w <q>5</q>
              started item=1 task=w instance=1
              completed item=1 task=w instance=1 data={q:5}
              passed task=w instance=1 taken=j put=o data={q:5}
              ended instance=1 how=completed
              left task=sub put=c{sub_b} data={y:10}
              offered item=2 task=b
            = running (c{sub_b}) enabled b {x:4, y:10}
            > complete b
              started item=2 task=b
              completed item=2 task=b
              passed task=b taken=c{sub_b} put=o
              closed how=completed
            = completed () {x:4, y:10}
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

#[test]
fn a_deadlock_is_an_incident_that_stays() {
    check(
        "net N
         i > s
         s empty xor xor > a b
           when a true()
         a manual xor and > c1
         b manual xor and > c2
         c1 > j
         c2 > j
         j manual and and > o",
        "create
         complete a
         retry
         cancel no way on",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              passed task=s taken=i put=c{s_a}
              offered item=1 task=a
            = running (c{s_a}) enabled a
            > complete a
              started item=1 task=a
              completed item=1 task=a
              passed task=a taken=c{s_a} put=c1
              incident incident=1 kind=deadlock detail=net "N" has tokens, but no task is enabled or busy
            = incident (c1) !deadlock
            > retry
              cleared incident=1
              incident incident=2 kind=deadlock detail=net "N" has tokens, but no task is enabled or busy
            = incident (c1) !deadlock
            > cancel no way on
              closed how=cancelled reason=no way on
            = cancelled ()
        "#]],
    );
}

#[test]
fn a_failed_item_is_an_incident_until_retried_or_skipped() {
    check(
        "net N
         i > a
         a manual xor and > b
         b manual xor and > o",
        "create
         fail a no paper
         complete a
         start a
         retry
         retry
         start a
         fail a still no paper
         skip a not needed
         fail b whatever
         skip b",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              offered item=1 task=a
            = running (i) enabled a
            > fail a no paper
              entered task=a taken=i
              started item=1 task=a
              failed item=1 task=a reason=no paper
            = incident () busy a !failed at a
            > complete a
              refused KN0353: the work item is failed, which does not allow to complete it
            = incident () busy a !failed at a
            > start a
              refused KN0353: the work item is failed, which does not allow to start it
            = incident () busy a !failed at a
            > retry
              reoffered item=1 task=a
            = running () busy a
            > retry
              refused KN0354: the case has no incident to retry
            = running () busy a
            > start a
              started item=1 task=a
            = running () busy a
            > fail a still no paper
              failed item=1 task=a reason=still no paper
            = incident () busy a !failed at a
            > skip a not needed
              skipped item=1 task=a reason=not needed
              left task=a put=c{a_b}
              offered item=2 task=b
            = running (c{a_b}) enabled b
            > fail b whatever
              entered task=b taken=c{a_b}
              started item=2 task=b
              failed item=2 task=b reason=whatever
            = incident () busy b !failed at b
            > skip b
              skipped item=2 task=b reason=
              left task=b put=o
              closed how=completed
            = completed ()
        "#]],
    );
}

#[test]
fn a_suspended_case_takes_nothing_but_resume_and_cancel() {
    check(
        "net N
         i > a
         a manual xor and > e
         e empty xor and > o",
        "create
         start a
         resume
         suspend
         suspend
         complete a
         retry
         execute
         resume
         complete a
         resume",
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
            > resume
              refused KN0352: the case is not suspended
            = running () busy a
            > suspend
              suspended
            = suspended () busy a
            > suspend
              refused KN0352: the case is suspended
            = suspended () busy a
            > complete a
              refused KN0352: the case is suspended
            = suspended () busy a
            > retry
              refused KN0352: the case is suspended
            = suspended () busy a
            > execute
              refused KN0352: the case is suspended
            = suspended () busy a
            > resume
              resumed
            = running () busy a
            > complete a
              completed item=1 task=a
              left task=a put=c{a_e}
              passed task=e taken=c{a_e} put=o
              closed how=completed
            = completed ()
            > resume
              refused KN0352: the case is completed
            = completed ()
        "#]],
    );
    check(
        "net N
         i > a
         a manual xor and > o",
        "create
         suspend
         cancel never mind
         cancel again",
        expect![[r#"
            > create
              created workflow=sketch
              opened net=N number=0
              offered item=1 task=a
            = running (i) enabled a
            > suspend
              suspended
            = suspended (i) enabled a
            > cancel never mind
              withdrawn item=1 task=a why=its net was cancelled
              closed how=cancelled reason=never mind
            = cancelled ()
            > cancel again
              refused KN0352: the case is cancelled
            = cancelled ()
        "#]],
    );
}

#[test]
fn an_automated_task_echoes_its_inputs() {
    check(
        "net N
         in x integer
         var y integer 1
         var z string old
         i > a
         a auto xor and > b
           give p integer /N/x * 10
           take p integer y /a/p
           take other string z /a/other
         b manual xor and > o",
        "create <x>4</x>",
        expect![[r#"
            > create <x>4</x>
              created workflow=sketch
              opened net=N number=0 data={x:4, y:1, z:old}
              passed task=a taken=i put=c{a_b} data={y:40, z:}
              offered item=1 task=b
            = running (c{a_b}) enabled b {x:4, y:40}
        "#]],
    );
}

#[test]
fn an_automated_task_that_cannot_compute_is_an_incident_until_retried() {
    check(
        "net N
         in x integer
         var y integer 1
         i > s
         s empty xor and > a b
         a auto xor and > c1
           give p integer 10 idiv /N/x
           take p integer y /a/p
         b manual xor and > c2
           take x integer x /b/x
         c1 > j
         c2 > j
         j manual and and > o",
        "create <x>0</x>
         retry
         complete b <x>5</x>
         retry
         cancel",
        expect![[r#"
            > create <x>0</x>
              created workflow=sketch
              opened net=N number=0 data={x:0, y:1}
              passed task=s taken=i put=c{s_a},c{s_b}
              incident incident=1 task=a kind=data detail=mapping "10 idiv /N/x" of task "a": division by zero
              offered item=1 task=b
            = incident (c{s_a} c{s_b}) enabled a,b {x:0, y:1} !data at a
            > retry
              cleared incident=1
              incident incident=2 task=a kind=data detail=mapping "10 idiv /N/x" of task "a": division by zero
            = incident (c{s_a} c{s_b}) enabled a,b {x:0, y:1} !data at a
            > complete b <x>5</x>
              started item=1 task=b
              completed item=1 task=b data={x:5}
              passed task=b taken=c{s_b} put=c2 data={x:5}
            = incident (c2 c{s_a}) enabled a {x:5, y:1} !data at a
            > retry
              cleared incident=2
              passed task=a taken=c{s_a} put=c1 data={y:2}
              offered item=2 task=j
            = running (c1 c2) enabled j {x:5, y:2}
            > cancel
              withdrawn item=2 task=j why=its net was cancelled
              closed how=cancelled reason=
            = cancelled () {x:5, y:2}
        "#]],
    );
}

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

#[test]
fn damaged_rows_are_refused_when_a_case_is_loaded() {
    let source = sketch::xml(&FILLING.replace("KIND", "manual"));
    let mut driver = Driver::new(workflow(source.as_bytes()).unwrap());
    driver.create(Fragment::empty());
    let rows = driver.cases.rows(driver.id).unwrap();
    let registered = driver.cases.registered(driver.id).unwrap().clone();
    let damages: [fn(&mut Rows); 12] = [
        |rows| rows.case.spec.0 += 1,
        |rows| rows.instances[0].1.net = 9,
        |rows| rows.instances[0].1.tokens = vec![(999, 1)],
        |rows| rows.instances[0].1.tokens = vec![(0, 300)],
        |rows| rows.instances[0].1.parent = Some((0, 0)),
        |rows| rows.instances[0].1.data = vec![(5, Fragment::empty())],
        |rows| rows.instances[0].0 = 4,
        |rows| rows.instances.clear(),
        |rows| rows.items[0].1.task = 7,
        |rows| rows.items[0].1.instance = 7,
        |rows| rows.items.insert(0, (9, rows.items[0].1.clone())),
        |rows| rows.case.status = Status::Closed(End::Completed),
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        let mut damaged = rows.clone();
        damage(&mut damaged);
        let error = driver.cases.load(CaseId(128), damaged, registered.clone()).unwrap_err();
        assert_eq!(error.code().to_string(), "KN0364", "damage {at}");
        assert!(!driver.cases.contains(CaseId(128)));
    }
    driver.cases.load(CaseId(128), rows, registered).unwrap();
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
    let create = |id| Job {
        case: CaseId(id),
        registered: Some(registered.clone()),
        what: What::Command(Command::Create {
            spec: SpecNumber(1),
            business_key: None,
            data: Fragment::empty(),
        }),
    };
    let complete = |id, item| Job {
        case: CaseId(id),
        registered: None,
        what: What::Command(Command::Complete(item, Fragment::empty())),
    };
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
    fn around(&mut self, steps: usize, run: impl FnOnce()) {
        self.0.push(steps);
        run();
    }
}

#[test]
fn what_names_nothing_is_refused() {
    check(
        "net N
         i > a
         a manual xor and > o",
        "start a
         continue
         create
         create
         start nothing
         complete a
         complete a",
        expect![[r#"
            > start a
              refused KN0350: there is no such case
            > continue
              refused KN0350: there is no such case
            > create
              created workflow=sketch
              opened net=N number=0
              offered item=1 task=a
            = running (i) enabled a
            > create
              refused KN0352: the case is there already
            = running (i) enabled a
            > start nothing
              refused KN0351: there is no such work item: it never was, or it is finished or withdrawn
            = running (i) enabled a
            > complete a
              started item=1 task=a
              completed item=1 task=a
              passed task=a taken=i put=o
              closed how=completed
            = completed ()
            > complete a
              refused KN0352: the case is completed
            = completed ()
        "#]],
    );
}
