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

#[test]
fn file_names_are_read_back() {
    for id in all() {
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
        counters.encoded = 9;
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
