//! Data: initial values, mappings, types, subnets.

use expect_test::expect;

use super::check;

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
