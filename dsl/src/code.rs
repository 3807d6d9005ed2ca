//! The numbers of the diagnostics of rule files. A number, once released, keeps its meaning.

/// Numbers and their meanings, in order: the source of the reference page.
pub const CODES: &[(&str, &str)] = &[
    (NOT_YAML, "the text is not YAML"),
    (DUPLICATE_KEY, "a key stands twice in one mapping"),
    (UNKNOWN_KEY, "a key is not known in its place"),
    (MISSING_KEY, "a required key is missing"),
    (WRONG_SHAPE, "a value has the wrong shape"),
    (TOO_LARGE, "the file or a list in it is too large"),
    (BAD_NAME, "a zone, line or rule is badly named"),
    (SYNTAX, "an expression cannot be read"),
    (TOO_LONG, "an expression is too long"),
    (TOO_DEEP, "an expression is nested too deeply"),
    (MISPLACED, "`for` or `within` stands where it cannot"),
    (UNKNOWN_FIELD, "a field does not exist"),
    (UNKNOWN_FUNCTION, "a function does not exist"),
    (WRONG_SCOPE, "a field or function cannot be used here"),
    (UNKNOWN_ZONE, "a zone does not exist"),
    (UNKNOWN_LABEL, "no model of the run knows a label"),
    (UNKNOWN_MODEL, "the run has no such model"),
    (UNKNOWN_LINE, "a line does not exist"),
    (UNKNOWN_TIME_ZONE, "a time zone does not exist"),
    (NO_LANDMARKS, "no model of the run gives landmarks"),
    (NO_DEPTH, "no model of the run gives depth"),
    (TYPES, "two values cannot be compared"),
    (NO_CONDITION, "a value stands where a condition must"),
    (ARGUMENTS, "a function has the wrong arguments"),
    (
        OUT_OF_RANGE,
        "a value lies outside of what its field can be",
    ),
    (BAD_PATTERN, "a pattern behind `matches` cannot be used"),
    (TOO_COSTLY, "a condition tests or remembers too much"),
    (NESTED, "an aggregate holds what cannot stand inside of one"),
    (BAD_POLYGON, "a polygon is not one"),
    (BAD_POINT, "a point is not inside the picture"),
    (BAD_DURATION, "a duration cannot be read"),
    (BAD_CHOICE, "a word is not one of the choices"),
    (
        BAD_PLACEHOLDER,
        "a message has a placeholder that cannot be filled",
    ),
    (BAD_COLOR, "a colour cannot be read"),
    (BAD_TOPIC, "a text cannot be the name of a topic"),
    (BAD_URL, "the URL of a webhook cannot be used"),
    (BAD_TAG, "an attribute cannot be named or set so"),
    (
        WRONG_SUBJECT,
        "a clause or action needs a rule of another kind",
    ),
    (DUPLICATE_ACTION, "the same is to be done twice"),
];

pub(crate) const NOT_YAML: &str = "R0101";
pub(crate) const DUPLICATE_KEY: &str = "R0102";
pub(crate) const UNKNOWN_KEY: &str = "R0103";
pub(crate) const MISSING_KEY: &str = "R0104";
pub(crate) const WRONG_SHAPE: &str = "R0105";
pub(crate) const TOO_LARGE: &str = "R0106";
pub(crate) const BAD_NAME: &str = "R0107";

pub(crate) const SYNTAX: &str = "R0201";
pub(crate) const TOO_LONG: &str = "R0202";
pub(crate) const TOO_DEEP: &str = "R0203";
pub(crate) const MISPLACED: &str = "R0204";

pub(crate) const UNKNOWN_FIELD: &str = "R0301";
pub(crate) const UNKNOWN_FUNCTION: &str = "R0302";
pub(crate) const WRONG_SCOPE: &str = "R0303";
pub(crate) const UNKNOWN_ZONE: &str = "R0304";
pub(crate) const UNKNOWN_LABEL: &str = "R0305";
pub(crate) const UNKNOWN_MODEL: &str = "R0306";
pub(crate) const UNKNOWN_LINE: &str = "R0307";
pub(crate) const UNKNOWN_TIME_ZONE: &str = "R0308";
pub(crate) const NO_LANDMARKS: &str = "R0309";
pub(crate) const NO_DEPTH: &str = "R0310";

pub(crate) const TYPES: &str = "R0401";
pub(crate) const NO_CONDITION: &str = "R0402";
pub(crate) const ARGUMENTS: &str = "R0403";
pub(crate) const OUT_OF_RANGE: &str = "R0404";
pub(crate) const BAD_PATTERN: &str = "R0405";
pub(crate) const TOO_COSTLY: &str = "R0406";
pub(crate) const NESTED: &str = "R0407";

pub(crate) const BAD_POLYGON: &str = "R0501";
pub(crate) const BAD_POINT: &str = "R0502";
pub(crate) const BAD_DURATION: &str = "R0503";
pub(crate) const BAD_CHOICE: &str = "R0504";
pub(crate) const BAD_PLACEHOLDER: &str = "R0505";
pub(crate) const BAD_COLOR: &str = "R0506";
pub(crate) const BAD_TOPIC: &str = "R0507";
pub(crate) const BAD_URL: &str = "R0508";
pub(crate) const BAD_TAG: &str = "R0509";
pub(crate) const WRONG_SUBJECT: &str = "R0510";
pub(crate) const DUPLICATE_ACTION: &str = "R0511";
