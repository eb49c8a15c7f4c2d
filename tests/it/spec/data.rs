//! Variables, mappings and initial values; what a later release runs.

use expect_test::expect;

use super::{OUTPUT, check, flow, input, root, task};

#[test]
fn mappings_need_a_decomposition_and_one_known_target_each() {
    let variables = "<localVariable><name>v</name><type>xs:int</type></localVariable>";
    let mapping = |query: &str, to: &str| {
        format!("<mapping><expression query='{query}'/><mapsTo>{to}</mapsTo></mapping>\n")
    };
    let starting = |inside: &[String]| format!("<startingMappings>{}</startingMappings>\n", inside.concat());
    let completed =
        |inside: &[String]| format!("<completedMappings>{}</completedMappings>\n", inside.concat());
    let elements = |more: &str| [&input("a"), &task("a", &flow("o"), "and", more), OUTPUT].concat();
    let good = [starting(&[mapping("/N/v", "p")]), completed(&[mapping("/G/q", "v")])].concat();
    check(
        root(variables, &elements(&good)),
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
    "#]],
    );
    check(
        root(variables, &elements(&good).replace("<decomposesTo id='G'/>", "")),
        expect![[r#"
        refused
        3:20: warning[KN0183]: net "N" may complete without any work
        hint: nothing to do, if this is meant: there is a way on which no task has a decomposition
        5:144: error[KN0140]: task "a" has mappings and no decomposition
        hint: write decomposesTo, or take the mappings out
        12:20: warning[KN0182]: no task uses decomposition "G"
        hint: take it out, or use it
    "#]],
    );
    let bad = [
        starting(&[mapping("/N/v", "p"), mapping("/N/v", "p"), mapping("/N/v", "v"), mapping(" ", "p")]),
        completed(&[mapping("/G/q", "v"), mapping("/G/q", "v"), mapping("/G/q", "p")]),
    ];
    check(
        root(variables, &elements(&bad.concat())),
        expect![[r#"
        refused
        6:44: error[KN0141]: two mappings of task "a" write "p"
        hint: keep one of them
        7:44: error[KN0142]: task "a" maps to "v", which is no input parameter of "G"
        hint: name an input parameter of the decomposition
        8:29: error[KN0107]: the query of expression is empty
        hint: write an expression, such as /Net/variable
        11:44: error[KN0141]: two mappings of task "a" write "v"
        hint: keep one of them
        12:44: error[KN0142]: task "a" maps to "p", which its net does not have
        hint: name a parameter or local variable of the net
    "#]],
    );
    let torn =
        "<startingMappings><mapping/><mapping><expression/><mapsTo/></mapping><map/></startingMappings>";
    check(
        root(variables, &elements(torn)),
        expect![[r#"
        refused
        5:116: error[KN0107]: the mapping has no expression
        hint: write <expression query="..."/> <mapsTo>...</mapsTo>
        5:116: error[KN0107]: the mapping has no mapsTo
        hint: write <expression query="..."/> <mapsTo>...</mapsTo>
        5:135: error[KN0107]: expression has no attribute query
        hint: write query="..."
        5:148: error[KN0107]: the name or id of mapsTo is empty
        hint: give it one
        5:167: error[KN0109]: element "map" is not known in startingMappings
        hint: check the spelling, or take it out
    "#]],
    );
}

#[test]
fn initial_values_fit_their_types() {
    let variable = |name: &str, kind: &str, initial: &str| {
        format!(
            "<localVariable><name>{name}</name><type>{kind}</type><initialValue>{initial}</initialValue></localVariable>\n"
        )
    };
    let variables = [
        variable("unset", "xs:int", " "),
        variable("number", "xs:int", " 12 "),
        variable("wide", "xs:byte", "128"),
        variable("day", "xsd:date", "2023-02-29"),
        variable("roots", "T", "&lt;a/&gt;&lt;b/&gt;text"),
        variable("torn", "T", "&lt;a>"),
        variable("elements", "T", "<x xmlns=''>1</x><y/>"),
        variable("yes", "boolean", "yes"),
        variable("number", "string", ""),
        "<inputParam><name>day</name><type>string</type></inputParam>".to_owned(),
    ];
    let elements = [&input("a"), &task("a", &flow("o"), "and", ""), OUTPUT].concat();
    check(
        root(&variables.concat(), &elements),
        expect![[r#"
            refused
            5:67: error[KN0143]: "128" is not a whole number from -128 to 127 as variable "wide" needs
            hint: write a value of its type, or leave it empty
            6:22: error[KN0111]: local variable "day" has the name of an input parameter
            hint: give each a name of its own
            6:67: error[KN0143]: "2023-02-29" is not a date (YYYY-MM-DD) as variable "day" needs
            hint: write a value of its type, or leave it empty
            8:61: error[KN0143]: the initial value of variable "torn" is no piece of XML: not well-formed: expected 'a' tag, not 'value'
            hint: write a value of its type, or leave it empty
            10:66: error[KN0143]: "yes" is not true or false as variable "yes" needs
            hint: write a value of its type, or leave it empty
            11:22: error[KN0111]: there is another local variable with the name "number"
            hint: give each a name of its own
        "#]],
    );
}

#[test]
fn what_a_later_release_runs_is_refused_by_name() {
    let multiple = "<minimum>1</minimum><maximum>/N/v</maximum><threshold>2</threshold><creationMode code='static'/>\n\
        <miDataInput><expression query='/N/v'/><splittingExpression query='/v/*'/><formalInputParam>p</formalInputParam></miDataInput>\n\
        <miDataOutput><formalOutputExpression query='/G/p'/><outputJoiningExpression query='/a/*'/>\
        <resultAppliedToLocalVariable>v</resultAppliedToLocalVariable></miDataOutput>\n";
    let timer = "<timer><trigger>OnEnabled</trigger><duration>P1D</duration></timer>\n";
    let elements = |more: &str| [&input("a"), &task("a", &flow("o"), "and", more), OUTPUT].concat();
    check(
        root("", &elements(&[multiple, timer].concat())),
        expect![[r#"
        refused: "u" nets 1 tasks 1 gateways 1 data_root false
        5:98: error[KN0160]: task "a" has multiple instances, which are not run yet
        hint: write one task for each instance, or wait for a later release
        8:1: error[KN0161]: task "a" has a timer, and timers are not run yet
        hint: take the timer out, or wait for a later release
    "#]],
    );
    let wrong = "<minimum>3</minimum><maximum>2</maximum><threshold>0</threshold><creationMode code='often'/>\n\
        <timer><trigger>Never</trigger><duration/><beep/></timer>";
    check(
        root("", &elements(wrong)),
        expect![[r#"
        refused
        5:98: error[KN0160]: task "a" has multiple instances, which are not run yet
        hint: write one task for each instance, or wait for a later release
        5:107: error[KN0144]: the minimum of task "a" is 3, more than its maximum 2
        hint: exchange them
        5:149: error[KN0144]: the threshold of task "a" is 0
        hint: write 1 or more
        5:182: error[KN0144]: the creationMode of task "a" is "often"
        hint: write static or dynamic
        6:1: error[KN0161]: task "a" has a timer, and timers are not run yet
        hint: take the timer out, or wait for a later release
        6:17: error[KN0108]: the trigger of a timer cannot be "Never"
        hint: write one of OnEnabled, OnExecuting
        6:32: error[KN0107]: duration is empty
        hint: write its value, or leave the element out
        6:43: error[KN0109]: element "beep" is not known in timer
        hint: check the spelling, or take it out
    "#]],
    );
    let bare = elements("").replace("<task id", "<task xsi:type='MultipleInstanceExternalTaskFactsType' id");
    check(
        root("", &bare),
        expect![[r#"
        refused
        5:1: error[KN0144]: task "a" has no creationMode
        hint: write <creationMode code="static"/>
        5:1: error[KN0160]: task "a" has multiple instances, which are not run yet
        hint: write one task for each instance, or wait for a later release
    "#]],
    );
}
