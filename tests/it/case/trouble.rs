//! What goes wrong: refusals, incidents, suspension, damage.

use expect_test::expect;
use knhk::case::event::End;
use knhk::case::row::Status;
use knhk::engine::turn::Rows;
use knhk::expr::Fragment;
use knhk::id::CaseId;

use super::check;
use crate::support::driver::{Driver, workflow};
use crate::support::sketch;

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
fn damaged_rows_are_refused_when_a_case_is_loaded() {
    let source = sketch::xml("net N\n i > a\n a manual xor and > o");
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
