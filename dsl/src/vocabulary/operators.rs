//! What joins fields and functions to conditions.

use super::{Example, frame, track};

/// One row of [`OPERATORS`].
#[derive(Debug)]
pub struct OperatorSpec {
    /// How it is written.
    pub usage: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// Conditions with it.
    pub examples: &'static [Example],
}

/// All operators, from the tightest binding to the loosest.
pub const OPERATORS: &[OperatorSpec] = &[
    OperatorSpec {
        usage: "A == B, A != B, A < B, A <= B, A > B, A >= B",
        meaning: "a comparison of two values of one type. A value that is not known, such as the direction of \
                  what stands, makes every comparison false, `!=` too",
        examples: &[track(
            "box.width < box.height",
            "track 1 from 0s to 20s; track 2 from 0s to 20s",
        )],
    },
    OperatorSpec {
        usage: "A in [X, Y], A in LOW..HIGH",
        meaning: "one of several; or between two, both ends included",
        examples: &[track("score in 40%..60%", "track 3 from 8s to 12s")],
    },
    OperatorSpec {
        usage: "A matches \"PATTERN\"",
        meaning: "the pattern, a regular expression, is found in the text; `^` and `$` tie it to its ends. A \
                  backslash is written twice, as in `\\\\d`; classes are of ASCII",
        examples: &[track(
            r#"label matches "^(car|truck)$""#,
            "track 3 from 8s to 12s",
        )],
    },
    OperatorSpec {
        usage: "not A, !A",
        meaning: "A does not hold",
        examples: &[frame("not motion > 0.5%", "from 12.5s to 20s")],
    },
    OperatorSpec {
        usage: "A and B, A && B",
        meaning: "both hold",
        examples: &[track(
            r#"label == "person" and in_zone(dock)"#,
            "track 1 from 5s to 20s",
        )],
    },
    OperatorSpec {
        usage: "A or B, A || B",
        meaning: "one of them holds, or both",
        examples: &[track(
            r#"label == "car" or score < 75%"#,
            "track 2 from 0s to 20s; track 3 from 8s to 12s",
        )],
    },
    OperatorSpec {
        usage: "count(...) > N within T",
        meaning: "compares how many different tracks there were in the last `T`, at most 1h",
        examples: &[frame(
            "count(in_zone(street)) >= 2 within 5s",
            "from 8s to 9.5s",
        )],
    },
    OperatorSpec {
        usage: "A -> B within T",
        meaning: "a sequence: first A, then in a later frame B, and so on, at most 8 steps; from the first to the last \
                  at most `T`, where that is written. It holds in the frame that completes it and for as long as \
                  the last step goes on holding",
        examples: &[track(
            "in_zone(street) -> in_zone(dock) within 8s",
            "track 1 from 5s to 20s",
        )],
    },
    OperatorSpec {
        usage: "not A for T",
        meaning: "absence: A has not held for `T`. As a later step of a sequence, since the step before was reached; A \
                  meanwhile ends the wait",
        examples: &[
            frame(
                r#"not exists(label == "car") for 5s"#,
                "from 5s to 7.5s; from 17s to 20s",
            ),
            track(
                r#"crossed(gate) -> not exists(label == "car") for 2s"#,
                "track 1 from 7s to 7.5s",
            ),
        ],
    },
];
