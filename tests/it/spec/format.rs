//! The format itself: encodings, versions, namespaces, types, oddities, what is missing or misspelt.

use expect_test::expect;
use knhk::spec::{self, tree};

use super::{OUTPUT, check, flow, input, root, set, task};

fn plain() -> String {
    root("", &[&input("a"), &task("a", &flow("o"), "and", ""), OUTPUT].concat())
}

#[test]
fn own_examples_are_accepted_without_a_word() {
    for name in ["sequence", "choice", "parallel", "subnet"] {
        let path = format!("{}/tests/data/spec/{name}.yawl", env!("CARGO_MANIFEST_DIR"));
        let reading = spec::read(&std::fs::read(path).unwrap());
        assert!(reading.is_accepted() && reading.mistakes.is_empty(), "{name}: {:?}", reading.mistakes);
    }
}

#[test]
fn utf_8_is_read_with_and_without_byte_order_mark_and_nothing_else() {
    check(
        format!("\u{feff}<?xml version='1.0' encoding='utf-8'?>\r\n{}", plain()),
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
    "#]],
    );
    check(
        format!("<?xml version=\"1.0\" encoding = \"ISO-8859-1\"?>\n{}", plain()),
        expect![[r#"
        refused
        1:33: error[KN0102]: the file says that it is "ISO-8859-1"
        hint: save the file as UTF-8, with encoding="UTF-8" or no encoding given
    "#]],
    );
    check(
        b"\xff\xfe<\0a\0",
        expect![[r#"
        refused
        1:1: error[KN0102]: the file is UTF-16, not UTF-8
        hint: save the file as UTF-8, with encoding="UTF-8" or no encoding given
    "#]],
    );
    check(
        plain()
            .replace("'a'", "'ä'")
            .chars()
            .map(|letter| u8::try_from(u32::from(letter)).unwrap())
            .collect::<Vec<_>>(),
        expect![[r#"
        refused
        4:55: error[KN0102]: here begin bytes that are not UTF-8
        hint: save the file as UTF-8, with encoding="UTF-8" or no encoding given
    "#]],
    );
}

#[test]
fn carriage_returns_and_wide_letters_do_not_shift_positions() {
    let xml = plain()
        .replace("<outputCondition", "<!-- äöü\u{1f600} --><outputCondition idd='x'")
        .replace('\n', "\r\n");
    check(
        xml,
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
        6:31: warning[KN0181]: attribute "idd" of outputCondition: read, and without effect here
        hint: check the spelling; what is not known is left out
    "#]],
    );
}

#[test]
fn what_is_not_well_formed_stands_alone() {
    check(
        "",
        expect![[r#"
        refused
        1:1: error[KN0101]: not well-formed: there is no element
        hint: mend the XML here; an XML editor shows the same place
    "#]],
    );
    check(
        "<a>\n  <b></c>\n</a>",
        expect![[r#"
        refused
        2:6: error[KN0101]: not well-formed: expected 'b' tag, not 'c'
        hint: mend the XML here; an XML editor shows the same place
    "#]],
    );
    check(
        "<a>\n  é&nbsp;</a>",
        expect![[r#"
        refused
        2:4: error[KN0101]: not well-formed: unknown entity reference 'nbsp'
        hint: mend the XML here; an XML editor shows the same place
    "#]],
    );
    check(
        "<a>\n <b>",
        expect![[r#"
        refused
        2:5: error[KN0101]: not well-formed: the text ends within an element
        hint: mend the XML here; an XML editor shows the same place
    "#]],
    );
    check(
        "<a b='1' b='2'/>",
        expect![[r#"
        refused
        1:10: error[KN0101]: not well-formed: attribute 'b' is already defined
        hint: mend the XML here; an XML editor shows the same place
    "#]],
    );
    check(
        "<a><p:b/></a>",
        expect![[r#"
        refused
        1:5: error[KN0101]: not well-formed: an unknown namespace prefix 'p'
        hint: mend the XML here; an XML editor shows the same place
    "#]],
    );
    check(
        "<?xml version='1.0'?>\n<!DOCTYPE a [<!ENTITY b 'bbbb'>]>\n<a>&b;</a>",
        expect![[r#"
        refused
        2:1: error[KN0103]: document type declarations are not allowed
        hint: take the <!DOCTYPE ...> out: entities and external files are never read
    "#]],
    );
    check(
        "<a>".repeat(1_000_000),
        expect![[r#"
        refused
        1:769: error[KN0104]: there are more than 256 levels of nesting
        hint: split the specification, or leave out its layout
    "#]],
    );
}

#[test]
fn a_source_has_room_for_so_many_bytes() {
    let mut source = plain().into_bytes();
    source.resize(spec::SOURCE_BYTES_MAX, b' ');
    assert!(spec::read(&source).is_accepted());
    source.push(b' ');
    check(
        &source,
        expect![[r#"
        refused
        error[KN0100]: the file has 16777217 bytes, more than 16777216
        hint: split the specification, or leave out its layout
    "#]],
    );
}

#[test]
fn the_document_is_one_specification_of_yawl() {
    check(
        "<html/>",
        expect![[r#"
        refused
        1:1: error[KN0105]: the document is "html", not a YAWL specificationSet
        hint: begin with <specificationSet xmlns="http://www.yawlfoundation.org/yawlschema" version="4.0">
    "#]],
    );
    check(
        "<specificationSet><specification uri='u'/></specificationSet>",
        expect![[r#"
        refused
        1:1: error[KN0105]: the document is "specificationSet", not a YAWL specificationSet
        hint: begin with <specificationSet xmlns="http://www.yawlfoundation.org/yawlschema" version="4.0">
    "#]],
    );
    let set = |inside: &str| {
        format!(
            "<specificationSet xmlns='http://www.yawlfoundation.org/yawlschema' version='4.0'>{inside}</specificationSet>"
        )
    };
    check(
        set(""),
        expect![[r#"
        refused
        1:1: error[KN0106]: the set holds no specification
        hint: a file holds one specification with a root net
    "#]],
    );
    check(
        set("<specification/>"),
        expect![[r#"
        refused
        1:1: error[KN0106]: the set holds no specification
        hint: a file holds one specification with a root net
    "#]],
    );
    check(
        set("<specification uri='a'><name/></specification>\n<specification uri='b'><name/></specification>"),
        expect![[r#"
        refused
        2:1: error[KN0106]: the set holds 2 specifications, "a" and "b" among them
        hint: write each to a file of its own
    "#]],
    );
    check(
        plain().replace("<specification uri='u'>", "<specification uri='e'/>\n<specification uri='u'>"),
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
        2:1: warning[KN0185]: the empty specification "e" is left out
        hint: take it out of the file
    "#]],
    );
}

#[test]
fn betas_have_a_root_net_no_version_and_names_as_attributes() {
    let xml = "<specificationSet xmlns='http://www.citi.qut.edu.au/yawl' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>\n\
        <specification uri='beta'><metaData/>\n\
        <rootNet id='New Net #1'><inputParam name='s'><type>stub:StubType</type></inputParam>\n\
        <localVariable name='x'><type>xs:string</type><initialValue>a</initialValue></localVariable>\n\
        <processControlElements><inputCondition id='0'><flowsInto><nextElementRef id='4'/></flowsInto></inputCondition>\n\
        <task id='4'><flowsInto><nextElementRef id='1 ~'/></flowsInto><join code='xor'/><split code='and'/>\
        <decomposesTo id='Do Nothing'/></task>\n\
        <outputCondition id='1 ~'/></processControlElements></rootNet>\n\
        <decomposition id='Do Nothing' xsi:type='yawl:WebServiceGatewayFactsType'/>\n\
        </specification></specificationSet>";
    check(
        xml,
        expect![[r#"
        accepted: "beta" nets 1 tasks 1 gateways 1 data_root true
    "#]],
    );
    let tree = spec::read(xml.as_bytes()).specification.unwrap();
    let kinds: Vec<_> =
        tree.nets[0].inputs.iter().chain(&tree.nets[0].locals).map(|variable| &variable.data_type).collect();
    assert_eq!(
        kinds,
        [
            &tree::DataType::Opaque("stub:StubType".to_owned()),
            &tree::DataType::Builtin(tree::Builtin::String)
        ]
    );
    assert!(!tree.gateways[0].automated);
}

#[test]
fn versions_decide_where_documents_begin() {
    let with = |version: &str| plain().replace(" version='4.0'", version);
    for (version, data_root) in [
        (" version='Beta 2'", true),
        (" version='Beta 3'", false),
        (" version='Beta 7.1'", false),
        (" version='2.2'", false),
    ] {
        let reading = spec::read(with(version).as_bytes());
        assert!(reading.mistakes.is_empty(), "{version}");
        assert_eq!(reading.specification.unwrap().data_root, data_root, "{version}");
    }
    check(
        with(""),
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
        2:1: warning[KN0184]: there is no version; read as 4.0
        hint: write version="4.0" at the specificationSet
    "#]],
    );
    check(
        with(" version='5.0'"),
        expect![[r#"
        accepted: "u" nets 1 tasks 1 gateways 1 data_root false
        1:131: warning[KN0184]: version "5.0" is not known; read as 4.0
        hint: known are Beta 1 to 7, 2.0, 2.1, 2.2, 3.0, 4.0
    "#]],
    );
}

#[test]
fn types_are_built_in_by_name_or_opaque() {
    let of = |outer: &str, inside: &str| {
        let variable = format!("<localVariable {outer}><name>v</name>{inside}</localVariable>");
        let schema =
            "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:simpleType name='long'/></xs:schema>";
        let xml = root(&variable, &[&input("a"), &task("a", &flow("o"), "and", ""), OUTPUT].concat());
        let xml = xml.replace("<specification uri='u'>", &format!("<specification uri='u'>{schema}"));
        let reading = spec::read(xml.as_bytes());
        assert!(reading.is_accepted(), "{inside}: {:?}", reading.mistakes);
        match &reading.specification.unwrap().nets[0].locals[0].data_type {
            tree::DataType::Builtin(builtin) => format!("{builtin:?}"),
            tree::DataType::Opaque(name) => format!("opaque {name}"),
        }
    };
    let schema = "<namespace>http://www.w3.org/2001/XMLSchema</namespace>";
    let bound = "xmlns:s='http://www.w3.org/2001/XMLSchema' xmlns:xs='urn:other'";
    for (outer, inside, expected) in [
        ("", "<type>xs:string</type>", "String"),
        ("", "<type>xsd:boolean</type>", "Boolean"),
        (bound, "<type>s:date</type>", "Date"),
        (bound, "<type>xs:date</type>", "opaque xs:date"),
        ("", "<type>stub:date</type>", "opaque stub:date"),
        ("", "<type>\n double </type>", "Double"),
        ("", &format!("<type>integer</type>{schema}"), "Integer"),
        ("", &format!("<type>long</type>{schema}"), "opaque long"),
        ("", "<type>date</type><namespace>urn:other</namespace>", "opaque date"),
        ("", &format!("<type>YTimerType</type>{schema}"), "opaque YTimerType"),
        ("", "<isUntyped/>", "String"),
        ("", "<element>invoice</element>", "opaque invoice"),
    ] {
        assert_eq!(of(outer, inside), expected, "{inside}");
    }
}

#[test]
fn texts_keep_the_place_of_their_first_letter() {
    let variables = "<localVariable><name>v</name><type>T</type>\
        <initialValue><![CDATA[<x/>]]></initialValue></localVariable>";
    let query = "<completedMappings><mapping><expression  query = '&lt;v>{1}&lt;/v>'/><mapsTo>\n v <!-- c -->\n</mapsTo></mapping></completedMappings>";
    let elements = [&input("a"), &task("a", &flow("o"), "and", query), OUTPUT].concat();
    let xml = root(variables, &elements);
    let tree = spec::read(xml.as_bytes()).specification.unwrap();
    let mapping = &tree.nets[0].tasks[0].completed[0];
    let initial = tree.nets[0].locals[0].initial.as_ref().unwrap();
    for (text, value, source) in [
        (&mapping.query, "<v>{1}</v>", "&lt;v>{1}"),
        (&mapping.target, "v", "v <!-- c -->"),
        (initial, "<x/>", "<x/>]]>"),
        (&tree.nets[0].tasks[0].id, "a", "a'><flowsInto>"),
    ] {
        assert_eq!(text.text, value);
        assert!(xml[text.at.offset as usize..].starts_with(source), "{value}: {:?}", text.at);
    }
}

#[test]
fn what_is_missing_or_misspelt_is_said_at_once() {
    let xml = set(
        "<decomposition isRootNet='true' xsi:type='NetFacts'><inputParam/><localVariable><name> </name></localVariable>\n\
        <processControlElements><inputCondition/><task id='a'><flowInto/><flowsInto/><join code='nor'/></task>\n\
        <condition id='c'><flowsInto><nextElementRef/></flowsInto><flowsInto><nextElementRef id='a'/><nextElementRef id='a'/></flowsInto></condition>\n\
        <step/></processControlElements></decomposition>\n\
        <decomposition id='G' xsi:type='WebServiceGatewayFactsType'><externalInteraction>both</externalInteraction></decomposition>\n<extra/>",
    );
    check(
        xml.replace("uri='u'", ""),
        expect![[r#"
            refused
            2:1: error[KN0107]: specification has no attribute uri
            hint: write uri="..."
            2:1: error[KN0120]: the specification has no root net
            hint: mark one net with isRootNet="true"
            3:1: error[KN0107]: decomposition has no attribute id
            hint: write id="..."
            3:1: error[KN0108]: a decomposition cannot have the type "NetFacts"
            hint: write xsi:type="NetFactsType" or xsi:type="WebServiceGatewayFactsType"
            3:53: error[KN0107]: inputParam has no name
            hint: write <name>...</name>
            3:53: error[KN0107]: inputParam has no type
            hint: write <type>string</type> <namespace>http://www.w3.org/2001/XMLSchema</namespace>
            3:66: error[KN0107]: localVariable has no type
            hint: write <type>string</type> <namespace>http://www.w3.org/2001/XMLSchema</namespace>
            3:87: error[KN0107]: the name or id of name is empty
            hint: give it one
            4:25: error[KN0107]: inputCondition has no attribute id
            hint: write id="..."
            4:42: error[KN0107]: the task has no split
            hint: write <split code="..."/> with and, or or xor
            4:55: error[KN0109]: element "flowInto" is not known in task
            hint: check the spelling, or take it out
            4:66: error[KN0107]: the flow has no nextElementRef
            hint: write <nextElementRef id="..."/>
            4:90: error[KN0108]: join cannot be "nor"
            hint: write one of and, or, xor
            5:30: error[KN0107]: nextElementRef has no attribute id
            hint: write id="..."
            5:94: error[KN0113]: "nextElementRef" stands here a second time
            hint: keep one of them
            6:1: error[KN0109]: element "step" is not known in processControlElements
            hint: check the spelling, or take it out
            7:20: warning[KN0182]: no task uses decomposition "G"
            hint: take it out, or use it
            7:82: error[KN0108]: externalInteraction cannot be "both"
            hint: write manual or automated
            8:1: error[KN0109]: element "extra" is not known in specification
            hint: check the spelling, or take it out
        "#]],
    );
}

#[test]
fn what_has_no_effect_is_said_once_for_each_kind() {
    let more = "<resourcing><offer/></resourcing><customForm>f</customForm><configuration/>\
        <enablementMappings><mapping><expression query='1'/><mapsTo>p</mapsTo></mapping></enablementMappings>\n";
    let elements = [
        &input("a"),
        &task("a", &flow("b"), "and", more),
        &task("b", &flow("o"), "and", more)
            .replace("<task ", "<task x:colour='red' hue='2' xmlns:x='urn:x' "),
        OUTPUT,
    ];
    let xml = root("<logPredicate/><inputParam readOnly='true'><name>q</name><type>T</type><mandatory/><colour/></inputParam>", &elements.concat())
        .replace("WebServiceGatewayFactsType'>", "WebServiceGatewayFactsType' author='x'><yawlService id='s'/><codelet>c</codelet><enablementParam/>")
        .replace("</specification>", "<importedNet/></specification>\n<layout/><x:y xmlns:x='urn:x'/>");
    check(
        xml,
        expect![[r#"
        accepted: "u" nets 1 tasks 2 gateways 1 data_root false
        3:64: warning[KN0180]: logPredicate: read, and without effect here
        hint: nothing to do, unless the work depends on it
        3:79: warning[KN0180]: extended attributes of a parameter: read, and without effect here
        hint: nothing to do, unless the work depends on it
        3:135: warning[KN0180]: mandatory of a parameter: read, and without effect here
        hint: nothing to do, unless the work depends on it
        3:147: warning[KN0181]: element "colour" in inputParam: read, and without effect here
        hint: check the spelling; what is not known is left out
        5:98: warning[KN0180]: resourcing: read, and without effect here (2 times)
        hint: nothing to do, unless the work depends on it
        5:131: warning[KN0180]: customForm: read, and without effect here (2 times)
        hint: nothing to do, unless the work depends on it
        5:157: warning[KN0180]: configuration: read, and without effect here (2 times)
        hint: nothing to do, unless the work depends on it
        5:173: warning[KN0180]: enablementMappings: read, and without effect here (2 times)
        hint: nothing to do, unless the work depends on it
        7:7: warning[KN0181]: attribute "colour" of task: read, and without effect here
        hint: check the spelling; what is not known is left out
        7:22: warning[KN0181]: attribute "hue" of task: read, and without effect here
        hint: check the spelling; what is not known is left out
        11:1: warning[KN0180]: extended attributes of a decomposition: read, and without effect here
        hint: nothing to do, unless the work depends on it
        11:72: warning[KN0180]: yawlService: read, and without effect here
        hint: nothing to do, unless the work depends on it
        11:93: warning[KN0180]: codelet: read, and without effect here
        hint: nothing to do, unless the work depends on it
        11:113: warning[KN0180]: enablementParam: read, and without effect here
        hint: nothing to do, unless the work depends on it
        12:1: warning[KN0180]: importedNet: read, and without effect here
        hint: nothing to do, unless the work depends on it
        13:1: warning[KN0180]: layout: read, and without effect here
        hint: nothing to do, unless the work depends on it
        13:10: warning[KN0181]: element "y" in specificationSet: read, and without effect here
        hint: check the spelling; what is not known is left out
    "#]],
    );
}

#[test]
fn names_have_no_control_characters() {
    check(
        plain().replace("'a'", "'a&#10;b'"),
        expect![[r#"
        refused
        4:55: error[KN0108]: "a\nb", the name or id of nextElementRef, contains control characters
        hint: write letters, digits, spaces and signs only
        5:11: error[KN0108]: "a\nb", the name or id of task, contains control characters
        hint: write letters, digits, spaces and signs only
        8:20: warning[KN0182]: no task uses decomposition "G"
        hint: take it out, or use it
    "#]],
    );
}

#[test]
fn names_are_held_at_their_limit() {
    let named = |count: usize| plain().replace("'a'", &format!("'{}'", "é".repeat(count)));
    assert!(spec::read(named(spec::NAME_CHARS_MAX).as_bytes()).is_accepted());
    check(
        named(spec::NAME_CHARS_MAX + 1),
        expect![[r#"
            refused
            4:55: error[KN0110]: the name or id of nextElementRef has more than 1024 characters
            hint: shorten it
            5:11: error[KN0110]: the name or id of task has more than 1024 characters
            hint: shorten it
            8:20: warning[KN0182]: no task uses decomposition "G"
            hint: take it out, or use it
        "#]],
    );
}

#[test]
fn many_mistakes_end_in_one_line() {
    let tasks: String =
        (0..120).map(|number| task(&format!("t{number}"), &flow("nowhere"), "and", "")).collect();
    let reading = spec::read(root("", &[&input("t0"), &tasks, OUTPUT].concat()).as_bytes());
    assert_eq!(reading.mistakes.len(), spec::MISTAKES_MAX + 1);
    expect![[r#"
        warning[KN0189]: 20 more are not shown
        hint: mend those above and read the file again"#]]
    .assert_eq(&reading.mistakes[spec::MISTAKES_MAX].to_string());
    let tasks: String =
        (0..100).map(|number| task(&format!("t{number}"), &flow("nowhere"), "and", "")).collect();
    let reading = spec::read(root("", &[&input("t0"), &tasks, OUTPUT].concat()).as_bytes());
    assert_eq!(reading.mistakes.len(), spec::MISTAKES_MAX, "at the limit nothing is left out");
}

#[test]
fn a_tree_goes_through_json_and_back() {
    let path = format!("{}/tests/data/spec/subnet.yawl", env!("CARGO_MANIFEST_DIR"));
    let tree = spec::read(&std::fs::read(path).unwrap()).specification.unwrap();
    let text = serde_json::to_string(&tree).unwrap();
    assert_eq!(serde_json::from_str::<tree::Specification>(&text).unwrap(), tree);
}

#[test]
fn every_code_has_its_page() {
    for code in spec::codes::ALL {
        let path = format!("{}/docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(page.starts_with(&format!("# {code}: ")), "{path}");
        assert!(page.contains("\n## What happened\n") && page.contains("\n## What to do\n"), "{path}");
    }
    assert!(spec::codes::ALL.is_sorted());
}
