//! The permanent codes of mistakes in specifications, KN0100 to KN0199; docs/errors has a page for each.
//!
//! A code is never given another meaning. Those from KN0160 on to KN0179 mean "read, but not run by this
//! release"; those from KN0180 on are warnings.

use crate::error::Code;

/// KN0100: the file is larger than a specification may be.
pub const SOURCE_TOO_LARGE: Code = Code(100);
/// KN0101: the text is not well-formed XML.
pub const NOT_WELL_FORMED: Code = Code(101);
/// KN0102: the text is not UTF-8, or says that it is not.
pub const ENCODING: Code = Code(102);
/// KN0103: the text has a document type declaration.
pub const DOCUMENT_TYPE: Code = Code(103);
/// KN0104: the XML is deeper or has more parts than the limits allow.
pub const TOO_COMPLEX: Code = Code(104);
/// KN0105: the document is not a YAWL specification set.
pub const NOT_YAWL: Code = Code(105);
/// KN0106: the set does not hold exactly one specification.
pub const SPECIFICATION_COUNT: Code = Code(106);
/// KN0107: something that is required is missing.
pub const MISSING: Code = Code(107);
/// KN0108: a value is not one of those that are allowed.
pub const VALUE: Code = Code(108);
/// KN0109: an element is not known where it could change how the net runs.
pub const UNKNOWN_ELEMENT: Code = Code(109);
/// KN0110: an id or name is too long.
pub const NAME_TOO_LONG: Code = Code(110);
/// KN0111: an id or name is used twice.
pub const DUPLICATE: Code = Code(111);
/// KN0112: there are more nets, places or tasks than the limits allow.
pub const TOO_MANY: Code = Code(112);
/// KN0113: an element that may stand once stands twice.
pub const REPEATED: Code = Code(113);

/// KN0120: there is not exactly one root net.
pub const ROOT_NET: Code = Code(120);
/// KN0121: a net does not have exactly one input and one output condition.
pub const NET_ENDS: Code = Code(121);
/// KN0122: a flow leads to something that is not in its net.
pub const FLOW_TARGET: Code = Code(122);
/// KN0123: a flow leads into the input condition or out of the output condition.
pub const FLOW_AT_ENDS: Code = Code(123);
/// KN0124: a flow leads from a condition to a condition.
pub const CONDITION_TO_CONDITION: Code = Code(124);
/// KN0125: a condition or task has no flow out.
pub const NO_FLOW: Code = Code(125);
/// KN0126: a condition or task cannot be reached from the input condition.
pub const UNREACHABLE: Code = Code(126);
/// KN0127: the output condition cannot be reached from a condition or task.
pub const DEAD_END: Code = Code(127);
/// KN0128: two flows lead from the same element to the same element.
pub const FLOW_TWICE: Code = Code(128);
/// KN0130: a flow out of an AND-split has a predicate, an ordering or is a default.
pub const AND_FLOW: Code = Code(130);
/// KN0131: a flow out of an XOR-split has neither a predicate nor is the default, or both.
pub const XOR_FLOW: Code = Code(131);
/// KN0132: the predicates of an XOR-split are not ordered, or two have the same place.
pub const XOR_ORDERING: Code = Code(132);
/// KN0133: a flow out of an OR-split has no predicate, or has an ordering.
pub const OR_FLOW: Code = Code(133);
/// KN0134: an XOR-split or OR-split does not have exactly one default flow.
pub const DEFAULT_FLOW: Code = Code(134);
/// KN0135: a flow out of a condition has a predicate, an ordering or is a default.
pub const CONDITION_FLOW: Code = Code(135);
/// KN0136: a remove set names something that is not in its net.
pub const REMOVE_SET: Code = Code(136);
/// KN0137: a task decomposes to something that does not exist.
pub const DECOMPOSITION: Code = Code(137);
/// KN0138: the net can run for ever without any work.
pub const ENDLESS: Code = Code(138);
/// KN0140: a task without decomposition has mappings.
pub const MAPPING_WITHOUT_DECOMPOSITION: Code = Code(140);
/// KN0141: two mappings of a task write the same variable.
pub const MAPPING_TWICE: Code = Code(141);
/// KN0142: a mapping writes a variable that does not exist.
pub const MAPPING_TARGET: Code = Code(142);
/// KN0143: an initial value does not fit its type.
pub const INITIAL_VALUE: Code = Code(143);
/// KN0144: the numbers of a multiple-instance task do not fit together.
pub const MULTIPLE_INSTANCE: Code = Code(144);

/// KN0160: multiple instances are not run yet.
pub const NOT_YET_MULTIPLE_INSTANCE: Code = Code(160);
/// KN0161: timers are not run yet.
pub const NOT_YET_TIMER: Code = Code(161);

/// KN0180: a part of the specification is read and has no effect here.
pub const WITHOUT_EFFECT: Code = Code(180);
/// KN0181: a part of the specification is not known and has no effect.
pub const UNKNOWN_WITHOUT_EFFECT: Code = Code(181);
/// KN0182: no task uses a decomposition.
pub const UNUSED_DECOMPOSITION: Code = Code(182);
/// KN0183: a net may complete without any work.
pub const NO_WORK: Code = Code(183);
/// KN0184: the schema version is missing or not known.
pub const VERSION: Code = Code(184);
/// KN0185: an empty specification in the set is left out.
pub const EMPTY_SPECIFICATION: Code = Code(185);
/// KN0189: there are more mistakes than are shown.
pub const MORE: Code = Code(189);

/// All codes of this module, in order.
pub const ALL: &[Code] = &[
    SOURCE_TOO_LARGE,
    NOT_WELL_FORMED,
    ENCODING,
    DOCUMENT_TYPE,
    TOO_COMPLEX,
    NOT_YAWL,
    SPECIFICATION_COUNT,
    MISSING,
    VALUE,
    UNKNOWN_ELEMENT,
    NAME_TOO_LONG,
    DUPLICATE,
    TOO_MANY,
    REPEATED,
    ROOT_NET,
    NET_ENDS,
    FLOW_TARGET,
    FLOW_AT_ENDS,
    CONDITION_TO_CONDITION,
    NO_FLOW,
    UNREACHABLE,
    DEAD_END,
    FLOW_TWICE,
    AND_FLOW,
    XOR_FLOW,
    XOR_ORDERING,
    OR_FLOW,
    DEFAULT_FLOW,
    CONDITION_FLOW,
    REMOVE_SET,
    DECOMPOSITION,
    ENDLESS,
    MAPPING_WITHOUT_DECOMPOSITION,
    MAPPING_TWICE,
    MAPPING_TARGET,
    INITIAL_VALUE,
    MULTIPLE_INSTANCE,
    NOT_YET_MULTIPLE_INSTANCE,
    NOT_YET_TIMER,
    WITHOUT_EFFECT,
    UNKNOWN_WITHOUT_EFFECT,
    UNUSED_DECOMPOSITION,
    NO_WORK,
    VERSION,
    EMPTY_SPECIFICATION,
    MORE,
];
