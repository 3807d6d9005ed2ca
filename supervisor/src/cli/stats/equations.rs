//! The equations of a stream's books, for people.

use contract::ledger::{CropLedger, InferCounters, RenderCounters, TileLedger};
use serde::Serialize;

use crate::books::StreamBooks;

/// One equation of the books: what came in, and where it went.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Equation {
    /// The book: `intake`, `ingest`, `infer:MODEL`, `render`, `crops:MODEL`, `infer-crops:MODEL`, `gateway`,
    /// `tiles:MOSAIC`, `mosaic:MOSAIC`.
    pub(super) book: String,
    /// The left side.
    come_in: Term,
    /// The terms of the right side.
    gone_out: Vec<Term>,
    /// What is left: 0 when the run is over.
    pub(super) in_flight: u64,
    /// Nothing went out that had not come in.
    pub(super) balanced: bool,
}

/// A counter of an equation.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Term {
    name: &'static str,
    value: u64,
}

impl Equation {
    fn new(book: &str, come_in: (&'static str, u64), gone_out: &[(&'static str, u64)]) -> Self {
        let term = |&(name, value): &(&'static str, u64)| Term { name, value };
        let gone: u64 = gone_out.iter().map(|(_, value)| value).sum();
        Self {
            book: book.to_owned(),
            come_in: term(&come_in),
            gone_out: gone_out.iter().map(term).collect(),
            in_flight: come_in.1.saturating_sub(gone),
            balanced: gone <= come_in.1,
        }
    }

    pub(super) fn text(&self) -> String {
        let term = |term: &Term| format!("{} {}", term.name, term.value);
        let mut right: Vec<_> = self.gone_out.iter().map(term).collect();
        if self.in_flight > 0 {
            right.push(format!("in flight {}", self.in_flight));
        }
        let sign = if self.balanced { "=" } else { "is NOT" };
        format!("{} {sign} {}", term(&self.come_in), right.join(" + "))
    }
}

/// The equations of a stream's books, in the order of a frame's way.
pub(super) fn equations(books: &StreamBooks) -> Vec<Equation> {
    let ingest = &books.ledger.ingest;
    let mut all = Vec::new();
    if let Some(intake) = &books.intake {
        all.push(Equation::new(
            "intake",
            ("chunks received", intake.received),
            &[
                ("published", intake.published),
                ("lost", intake.lost_in_worker),
            ],
        ));
        all.push(Equation::new(
            "ingest",
            ("chunks published", intake.published),
            &[
                ("received", ingest.chunks_received),
                ("overflowed", ingest.chunks_overflowed),
                ("passed over", ingest.chunks_passed_over),
            ],
        ));
    }
    all.push(Equation::new(
        "ingest",
        ("captured", ingest.captured),
        &[
            ("published", ingest.published),
            ("dropped: no slot", ingest.dropped_no_slot),
            ("invalid", ingest.dropped_invalid),
            ("stopping", ingest.dropped_stopping),
            ("lost", ingest.lost),
        ],
    ));
    let published = ("published", ingest.published);
    for (model, infer) in &books.ledger.infer {
        all.extend(of_model(&format!("infer:{model}"), published, infer));
    }
    let render = &books.ledger.render;
    all.push(taken(
        "render",
        published,
        render.received,
        render.overflowed,
        render.lost_in_transit,
    ));
    all.push(Equation::new(
        "render",
        ("received", render.received),
        &[
            ("rendered", render.rendered),
            ("dropped: encoder", render.dropped_encoder),
            ("invalid", render.dropped_invalid),
            ("lost", render.lost_in_worker),
        ],
    ));
    if ingest.units > 0 {
        all.push(taken(
            "render",
            ("access units", ingest.units),
            render.units_received,
            render.units_overflowed,
            render.units_lost,
        ));
        all.push(Equation::new(
            "render",
            ("access units received", render.units_received),
            &[
                ("handed on", render.units_passed),
                ("passed over: resync", render.units_resync),
            ],
        ));
    }
    // Where no best pictures are wanted there is nothing to say of them.
    // Only of a stream that is to be recorded it is of interest.
    if render.encoded > render.unrecorded_off {
        all.push(recorded(render));
    }
    if render.shots_ended > 0 {
        all.push(of_best_shots(render));
    }
    for crops in &books.ledger.crops {
        all.extend(of_crops(crops));
    }
    for tiles in &books.ledger.tiles {
        all.extend(of_tiles(tiles));
    }
    if let Some(gateway) = &books.gateway {
        all.push(taken(
            "gateway",
            ("encoded", render.encoded),
            gateway.received,
            gateway.overflowed,
            gateway.lost_in_transit,
        ));
        all.push(Equation::new(
            "gateway",
            ("received", gateway.received),
            &[
                ("forwarded", gateway.forwarded),
                ("unwatched", gateway.unwatched),
                ("dropped: resync", gateway.dropped_resync),
                ("slow", gateway.dropped_slow),
                ("lost", gateway.lost_in_worker),
            ],
        ));
    }
    all
}

/// What was sent to a book, and how much of it came.
fn taken(
    book: &str,
    sent: (&'static str, u64),
    received: u64,
    overflowed: u64,
    lost: u64,
) -> Equation {
    let gone_out = [
        ("received", received),
        ("overflowed", overflowed),
        ("lost in transit", lost),
    ];
    Equation::new(book, sent, &gone_out)
}

/// What came to a model, and what became of it.
fn of_model(book: &str, sent: (&'static str, u64), infer: &InferCounters) -> [Equation; 2] {
    let come = taken(
        book,
        sent,
        infer.received,
        infer.overflowed,
        infer.lost_in_transit,
    );
    let gone_out = [
        ("inferred", infer.inferred),
        ("gated", infer.gated),
        ("stale", infer.stale),
        ("shed", infer.shed),
        ("failed", infer.failed),
        ("lost", infer.lost_in_worker),
    ];
    let done = Equation::new(book, ("received", infer.received), &gone_out);
    [come, done]
}

fn recorded(render: &RenderCounters) -> Equation {
    Equation::new(
        "recording",
        ("encoded", render.encoded),
        &[
            ("recorded", render.recorded),
            ("not asked for", render.unrecorded_off),
            ("not recorded: disk", render.unrecorded_disk),
            ("slow", render.unrecorded_slow),
            ("lost", render.unrecorded_lost),
        ],
    )
}

/// What became of the tracks whose best picture is wanted, once they had ended.
fn of_best_shots(render: &RenderCounters) -> Equation {
    Equation::new(
        "best shots",
        ("tracks ended", render.shots_ended),
        &[
            ("written", render.shots_written),
            ("none good enough", render.shots_poor),
            ("dropped", render.shots_dropped),
            ("not writable", render.shots_failed),
            ("lost", render.shots_lost),
        ],
    )
}

/// The equations of a model's crops, in the order of a crop's way.
fn of_crops(crops: &CropLedger) -> Vec<Equation> {
    let CropLedger { model, cut, infer } = crops;
    let book = format!("crops:{model}");
    let sent = Equation::new(
        &book,
        ("asked", cut.asked),
        &[
            ("published", cut.published),
            ("dropped: busy", cut.dropped_busy),
            ("no slot", cut.dropped_no_slot),
            ("empty", cut.dropped_empty),
        ],
    );
    let answered = Equation::new(
        &book,
        ("published", cut.published),
        &[
            ("answered", cut.answered),
            ("skipped", cut.skipped),
            ("expired", cut.expired),
            ("lost", cut.lost),
        ],
    );
    let published = ("published", cut.published);
    let [come, done] = of_model(&format!("infer-crops:{model}"), published, infer);
    vec![sent, come, done, answered]
}

/// The equations of the tiles in one mosaic.
fn of_tiles(tiles: &TileLedger) -> [Equation; 3] {
    let TileLedger {
        mosaic,
        sent,
        taken,
    } = tiles;
    let book = format!("mosaic:{mosaic}");
    [
        Equation::new(
            &format!("tiles:{mosaic}"),
            ("tiles due", sent.due),
            &[
                ("published", sent.published),
                ("dropped: no slot", sent.dropped_no_slot),
                ("not scaled", sent.dropped_unscaled),
            ],
        ),
        Equation::new(
            &book,
            ("tiles published", sent.published),
            &[
                ("received", taken.received),
                ("overflowed", taken.overflowed),
                ("passed over", taken.passed_over),
            ],
        ),
        Equation::new(
            &book,
            ("received", taken.received),
            &[
                ("shown", taken.shown),
                ("overtaken", taken.overtaken),
                ("stale", taken.stale),
                ("invalid", taken.invalid),
            ],
        ),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use contract::ledger::CropCounters;

    use super::*;

    pub(in super::super) fn books() -> StreamBooks {
        let mut books = StreamBooks::default();
        books.ledger.ingest.captured = 10;
        books.ledger.ingest.published = 9;
        books.ledger.ingest.dropped_no_slot = 1;
        let infer = InferCounters {
            next_sequence: 9,
            received: 7,
            overflowed: 2,
            inferred: 5,
            ..Default::default()
        };
        books.ledger.infer.push(("people".to_owned(), infer));
        books
    }

    #[test]
    fn equations_say_where_frames_are() {
        let equations = equations(&books());
        assert_eq!(
            equations[0].text(),
            "captured 10 = published 9 + dropped: no slot 1 + invalid 0 + stopping 0 + lost 0"
        );
        assert!(equations[2].text().ends_with("+ lost 0 + in flight 2"));
        assert!(equations.iter().all(|equation| equation.balanced));

        let mut forged = books();
        forged.ledger.ingest.published = 12;
        let equations = super::equations(&forged);
        assert!(!equations[0].balanced);
        assert!(equations[0].text().contains("is NOT"));
    }

    #[test]
    fn crops_are_followed_there_and_back() {
        let mut books = books();
        books.ledger.crops.push(CropLedger {
            model: "plates".to_owned(),
            cut: CropCounters {
                asked: 5,
                published: 4,
                dropped_busy: 1,
                answered: 2,
                expired: 1,
                ..Default::default()
            },
            infer: InferCounters {
                next_sequence: 4,
                received: 4,
                inferred: 3,
                ..Default::default()
            },
        });
        let equations = equations(&books);
        let of_crops = equations.iter().filter(|one| one.book.contains("plates"));
        let lines: Vec<_> = of_crops
            .map(|one| format!("{} {}", one.book, one.text()))
            .collect();
        assert_eq!(
            lines,
            [
                "crops:plates asked 5 = published 4 + dropped: busy 1 + no slot 0 + empty 0",
                "infer-crops:plates published 4 = received 4 + overflowed 0 + lost in transit 0",
                "infer-crops:plates received 4 = inferred 3 + gated 0 + stale 0 + shed 0 + failed 0 + lost 0 + in flight 1",
                "crops:plates published 4 = answered 2 + skipped 0 + expired 1 + lost 0 + in flight 1",
            ]
        );
        assert!(equations.iter().all(|equation| equation.balanced));
    }
}
