use contract::ledger::{IngestCounters, RenderCounters};
use frame_bus::BookWriter;

use super::*;

fn book(part: Part) -> BookId {
    BookId {
        stream: "yard".parse().expect("a name"),
        part,
    }
}

fn people() -> ModelName {
    "people".parse().expect("a name")
}

fn all() -> Vec<BookId> {
    [
        Part::Ingest,
        Part::Infer(people()),
        Part::Render,
        Part::Gateway,
    ]
    .map(book)
    .into()
}

/// The books of a stream whose rules ask the model about crops, and nothing else of it.
fn asking() -> [BookId; 4] {
    [
        Part::Ingest,
        Part::Render,
        Part::Crops(people()),
        Part::InferCrops(people()),
    ]
    .map(book)
}

#[test]
fn file_names_are_read_back() {
    for id in all().into_iter().chain(asking()) {
        assert_eq!(BookId::of_file_name(&id.file_name()), Some(id));
    }
    for wrong in ["lock", "ingest.book", "infer.yard.book", "ingest.Yard.book"] {
        assert_eq!(BookId::of_file_name(wrong), None, "{wrong}");
    }
}

#[test]
fn books_of_dead_workers_balance() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = Books::create(directory.path(), all()).expect("made");
    let path = |part: Part| directory.path().join(book(part).file_name());
    update(&path(Part::Ingest), |counters: &mut IngestCounters| {
        (counters.captured, counters.published) = (10, 9);
    })
    .expect("written");
    update(
        &path(Part::Infer(people())),
        |counters: &mut InferCounters| {
            (counters.next_sequence, counters.received, counters.inferred) = (8, 8, 5);
        },
    )
    .expect("written");
    update(&path(Part::Render), |counters: &mut RenderCounters| {
        (counters.next_sequence, counters.received, counters.rendered) = (9, 9, 9);
        (counters.encoded, counters.unrecorded_off) = (9, 9);
    })
    .expect("written");
    let stream = &book(Part::Ingest).stream;
    let before = made.read(stream);
    assert_eq!(before.ledger.in_flight(), 1 + 1 + 3);

    // One that lives keeps its book.
    let holder = BookWriter::<RenderCounters>::open(&path(Part::Render)).expect("held");
    let found = Books::find(directory.path());
    assert!(found.close_all(Duration::from_millis(10)).is_err());
    drop(holder);

    found.close_all(Duration::from_secs(5)).expect("closed");
    let after = made.read(stream);
    assert_eq!(after.check_closed(), Ok(()));
    assert_eq!(after.ledger.lost(), 5);
    let gateway = after.gateway.as_ref().expect("served");
    assert_eq!(gateway.lost_in_transit, 9);
    assert_eq!(found.content().len(), 4);
    found.close_all(Duration::from_secs(5)).expect("again");
    assert_eq!(made.read(stream), after, "closing twice changes nothing");
}

#[test]
fn a_model_that_joins_late_or_leaves_early_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let stream = book(Part::Ingest).stream;
    let path = |part: Part| directory.path().join(book(part).file_name());
    let publish = |count: u64| {
        update(&path(Part::Ingest), |counters: &mut IngestCounters| {
            counters.captured += count;
            counters.published += count;
        })
        .expect("written");
        update(&path(Part::Render), |counters: &mut RenderCounters| {
            counters.next_sequence += count;
            counters.received += count;
            counters.rendered += count;
            counters.encoded += count;
            counters.unrecorded_off += count;
        })
        .expect("written");
    };
    let (without, with) = ([Part::Ingest, Part::Render].map(book), all());
    let mut books = Books::create(directory.path(), without.clone()).expect("made");
    publish(10);
    let new = NewBooks::create(directory.path(), books.missing(&with)).expect("made");
    books.adopt(new, &with).expect("adopted");
    assert_eq!(books.read(&stream).check_closed(), Ok(()));

    publish(5);
    assert_eq!(books.read(&stream).ledger.in_flight(), 5);
    update(
        &path(Part::Infer(people())),
        |counters: &mut InferCounters| {
            counters.next_sequence += 4;
            counters.received += 4;
            counters.inferred += 4;
        },
    )
    .expect("written");
    books.adopt(NewBooks::default(), &without).expect("adopted");
    publish(3);
    let read = books.read(&stream);
    assert_eq!(read.check_closed(), Ok(()), "nobody asks for the rest");
    assert_eq!(
        (read.ledger.lost(), read.ledger.infer[0].1.gated),
        (0, 10 + 4)
    );
    assert_eq!(books.progress(&WorkerId::Infer(people())), None);

    assert!(books.missing(&with).is_empty());
    books.adopt(NewBooks::default(), &with).expect("adopted");
    publish(1);
    assert_eq!(books.read(&stream).ledger.in_flight(), 1);
    books.adopt(NewBooks::default(), &without).expect("adopted");
    let counters = books.content();
    books.close_transit(|_| false).expect("closed");
    assert_eq!(
        Books::find(directory.path()).read(&stream).check_closed(),
        Ok(())
    );
    let inference = counters.iter().find(|found| found.book == "infer:people");
    assert!(
        inference
            .expect("kept")
            .counters
            .contains(&("next_sequence", 19))
    );
}

#[test]
fn crops_of_dead_workers_are_lost_and_no_frames() {
    let directory = tempfile::tempdir().expect("a directory");
    let books = Books::create(directory.path(), asking()).expect("made");
    let path = |part: Part| directory.path().join(book(part).file_name());
    update(
        &path(Part::Crops(people())),
        |counters: &mut CropCounters| {
            (counters.asked, counters.published, counters.dropped_busy) = (9, 7, 2);
            (counters.answered, counters.expired) = (3, 1);
        },
    )
    .expect("written");
    update(
        &path(Part::InferCrops(people())),
        |counters: &mut InferCounters| {
            (counters.next_sequence, counters.received, counters.inferred) = (5, 5, 4);
        },
    )
    .expect("written");
    let stream = &book(Part::Ingest).stream;
    assert!(books.read(stream).check_closed().is_err());

    // The model's worker dies first, then the one that cuts.
    books
        .closer(&WorkerId::Infer(people()))
        .settle()
        .expect("settled");
    let [crops] = &books.read(stream).ledger.crops[..] else {
        panic!("one model");
    };
    assert_eq!((crops.infer.lost_in_worker, crops.cut.lost), (1, 0));
    let render = WorkerId::Render(stream.clone());
    books.closer(&render).settle().expect("settled");
    books.close_transit(|_| true).expect("closed");
    let read = books.read(stream);
    assert_eq!(read.check_closed(), Ok(()));
    let crops = &read.ledger.crops[0];
    assert_eq!((crops.cut.lost, crops.infer.lost_in_transit), (3, 2));
    assert_eq!(read.ledger.lost(), 0);
}

#[test]
fn crops_that_nobody_takes_any_more_are_not_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let stream = book(Part::Ingest).stream;
    let path = |part: Part| directory.path().join(book(part).file_name());
    let ask = |count: u64| {
        update(
            &path(Part::Crops(people())),
            |counters: &mut CropCounters| {
                counters.asked += count;
                counters.published += count;
                counters.expired += count;
            },
        )
        .expect("written");
    };
    let without = [Part::Ingest, Part::Render].map(book);
    let mut books = Books::create(directory.path(), asking()).expect("made");
    books.adopt(NewBooks::default(), &without).expect("adopted");
    // Cut before the render worker was told, but after the model's worker was.
    ask(2);
    assert_eq!(books.read(&stream).check_closed(), Ok(()));
    let infer = |books: &Books| {
        let mut content = books.content().into_iter();
        let found = content.find(|found| found.book == "infer-crops:people");
        found.expect("kept").counters
    };
    assert!(infer(&books).contains(&("gated", 2)));
    books
        .adopt(NewBooks::default(), &asking())
        .expect("adopted");
    ask(1);
    let read = books.read(&stream);
    assert_eq!(read.ledger.crops[0].infer.next_sequence, 2);
    assert!(read.check_closed().is_err(), "somebody asks for this one");
}

#[test]
fn chunks_that_nobody_took_are_passed_over_and_those_of_a_dead_gateway_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let books = Books::create(directory.path(), [Part::Ingest, Part::Intake].map(book));
    let books = books.expect("made");
    let path = |part: Part| directory.path().join(book(part).file_name());
    update(&path(Part::Intake), |counters: &mut IntakeCounters| {
        (counters.received, counters.published, counters.senders) = (10, 9, 1);
    })
    .expect("written");
    update(&path(Part::Ingest), |counters: &mut IngestCounters| {
        (counters.chunks_next, counters.chunks_received) = (7, 7);
    })
    .expect("written");
    let stream = book(Part::Ingest).stream;
    assert!(books.read(&stream).check_closed().is_err());
    books.closer(&WorkerId::Gateway).settle().expect("settled");
    books
        .close_transit(|id| id.part == Part::Ingest)
        .expect("closed");
    let read = books.read(&stream);
    assert_eq!(read.check_closed(), Ok(()));
    let intake = read.intake.expect("published");
    assert_eq!((intake.lost_in_worker, intake.senders), (1, 0));
    assert_eq!(read.ledger.ingest.chunks_passed_over, 2);
    assert_eq!(read.ledger.lost(), 0, "a chunk is no frame");
}
