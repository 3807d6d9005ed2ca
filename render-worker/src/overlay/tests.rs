//! What a drawn picture must show, whatever the exact pixels are.

use contract::findings::{CellValues, NO_CLASS, PictureMap};
use contract::geometry::PixelSize;
use contract::spec::{ColourBy, DepthView, NearValues};
use proptest::prelude::*;

use super::*;

const GREY: u8 = 128;
const SIZES: [PixelSize; 3] = [
    PixelSize {
        width: 640,
        height: 360,
    },
    PixelSize {
        width: 1920,
        height: 1080,
    },
    PixelSize {
        width: 641,
        height: 361,
    },
];

fn layers(boxes: bool, trails: bool, zones: bool, status: bool) -> OverlaySpec {
    OverlaySpec {
        boxes,
        trails,
        zones,
        status,
        classes: true,
        heat: false,
        colours: ColourBy::Track,
        depth: DepthView::Off,
        near: NearValues::Large,
    }
}

fn object(bounds: BoundingBox) -> Object<'static> {
    Object {
        bounds,
        landmarks: &[],
        label: "person",
        score: Some(0.83),
        track: Some(12),
        trail: &[],
        predicted: false,
        colour: None,
    }
}

/// In parts of the picture's width and height.
fn bounds(size: PixelSize, [x1, y1, x2, y2]: [f32; 4]) -> BoundingBox {
    #[expect(clippy::cast_precision_loss, reason = "sides are small")]
    let (width, height) = (size.width as f32, size.height as f32);
    BoundingBox {
        x1: (x1 * width).round(),
        y1: (y1 * height).round(),
        x2: (x2 * width).round(),
        y2: (y2 * height).round(),
    }
}

const STATUS: Status<'static> = Status {
    stream: "yard",
    wall_ms: 45_296_000,
    latency_ms: Some(84),
};

/// A grey picture, drawn on.
struct Drawn {
    layout: I420Layout,
    bytes: Vec<u8>,
}

impl Drawn {
    fn new(size: PixelSize, layers: OverlaySpec, marks: &[Mark], objects: &[Object<'_>]) -> Self {
        let layout = I420Layout::of(size);
        let mut bytes = vec![GREY; layout.bytes];
        let mut overlay = Overlay::new(layers, layout, ColourMatrix::Bt709, marks);
        assert!(overlay.draw(&mut bytes, objects.iter().copied(), None, &STATUS));
        Self { layout, bytes }
    }

    fn luma(&self, column: usize, row: usize) -> u8 {
        self.bytes[row * self.layout.strides[0] + column]
    }

    fn red(&self, column: usize, row: usize) -> u8 {
        let at = row / 2 * self.layout.strides[2] + column / 2;
        self.bytes[self.layout.offsets[2] + at]
    }

    fn count(&self, area: Area, shows: impl Fn(u8) -> bool) -> usize {
        let mut count = 0;
        for row in area.top..area.bottom {
            for column in area.left..area.right {
                let pixel = self.luma(column.unsigned_abs() as usize, row.unsigned_abs() as usize);
                count += usize::from(shows(pixel));
            }
        }
        count
    }

    fn touched(&self) -> usize {
        self.count(Area::of(&self.layout), |luma| luma != GREY)
    }
}

fn colour() -> Yuv {
    Palette::new(ColourMatrix::Bt709).track(12)
}

#[test]
fn a_box_has_lines_of_its_colour_and_leaves_its_inside_alone() {
    for size in SIZES {
        let place = bounds(size, [0.4, 0.4, 0.6, 0.8]);
        let drawn = Drawn::new(
            size,
            layers(true, true, false, false),
            &[],
            &[object(place)],
        );
        let area = area_of(&place, &Area::of(&drawn.layout));
        let middle_row = i32::midpoint(area.top, area.bottom).unsigned_abs() as usize;
        let edge = area.left.unsigned_abs() as usize;
        let is_line = |column: &usize| {
            drawn.luma(*column, middle_row) == colour().y
                && drawn.red(*column, middle_row).abs_diff(colour().v) <= 4
        };
        let width = (edge - 3..edge + 3).filter(is_line).count();
        assert!(width >= 2, "{size}: a line of {width} pixels");
        let inside = area.grown(-8);
        assert_eq!(drawn.count(inside, |luma| luma != GREY), 0, "{size}");
        let sheet = GlyphSheet::new(Style::of(size.height).text);
        let reach = Area {
            top: area.top - sheet.height(),
            right: area
                .right
                .max(area.left + 2 * sheet.width("person 0.83 #12")),
            ..area
        };
        let near = drawn.count(reach.grown(6), |luma| luma != GREY);
        assert_eq!(
            drawn.touched(),
            near,
            "{size}: something is drawn far from the box"
        );
    }
}

#[test]
fn a_colour_that_a_rule_wants_is_used_and_shows_without_the_layer() {
    let size = SIZES[0];
    let (plain, chosen) = (
        bounds(size, [0.1, 0.4, 0.2, 0.8]),
        bounds(size, [0.6, 0.4, 0.8, 0.8]),
    );
    let objects = [
        object(plain),
        Object {
            colour: Some(Rgb(255, 0, 0)),
            ..object(chosen)
        },
    ];
    let red = Rgb(255, 0, 0).to_yuv(ColourMatrix::Bt709);
    for boxes in [false, true] {
        let drawn = Drawn::new(size, layers(boxes, false, false, false), &[], &objects);
        let around = |place: &BoundingBox| area_of(place, &Area::of(&drawn.layout)).grown(4);
        let of_red = drawn.count(around(&chosen), |luma| luma == red.y);
        assert!(of_red > 500, "{of_red} pixels are red");
        assert_eq!(drawn.red(382, 200), red.v, "its left edge");
        let plainly = drawn.count(around(&plain), |luma| luma != GREY);
        assert_eq!(plainly > 0, boxes);
    }
}

#[test]
fn colours_are_those_of_tracks_of_classes_or_of_rules() {
    let size = SIZES[0];
    let palette = Palette::new(ColourMatrix::Bt709);
    let line = |colours: ColourBy, track: u64, label: &'static str, colour: Option<Rgb>| {
        let place = bounds(size, [0.4, 0.4, 0.6, 0.8]);
        let object = Object {
            track: Some(track),
            label,
            colour,
            ..object(place)
        };
        let layers = OverlaySpec {
            colours,
            ..layers(true, false, false, false)
        };
        let drawn = Drawn::new(size, layers, &[], &[object]);
        let area = area_of(&place, &Area::of(&drawn.layout));
        let row = i32::midpoint(area.top, area.bottom).unsigned_abs() as usize;
        // The line lies around the box.
        let column = area.left.unsigned_abs() as usize - 1;
        (drawn.luma(column, row), drawn.red(column, row))
    };
    let (person, car) = ("person", "car");
    let by_track = line(ColourBy::Track, 12, person, None);
    assert_eq!(by_track.0, palette.track(12).y);
    assert_ne!(by_track, line(ColourBy::Track, 13, person, None));
    let by_class = line(ColourBy::Class, 12, person, None);
    assert_eq!(by_class, line(ColourBy::Class, 13, person, None));
    assert_ne!(by_class, line(ColourBy::Class, 12, car, None));
    assert_eq!(line(ColourBy::Rule, 12, person, None).0, palette.white.y);
    let wanted = Some(Rgb(255, 0, 0));
    for colours in ColourBy::ALL {
        let drawn = line(colours, 12, person, wanted);
        assert_eq!(drawn.0, palette.chosen(Rgb(255, 0, 0)).y, "{colours:?}");
    }
}

#[test]
fn a_label_is_written_in_light_on_dark() {
    for size in SIZES {
        let place = bounds(size, [0.4, 0.4, 0.6, 0.8]);
        let drawn = Drawn::new(
            size,
            layers(true, true, false, false),
            &[],
            &[object(place)],
        );
        let style = Style::of(size.height);
        let sheet = GlyphSheet::new(style.text);
        let area = area_of(&place, &Area::of(&drawn.layout));
        let bottom = area.top - style.line / 2 - 1;
        let plate = Area {
            left: area.left + style.padding,
            top: bottom - sheet.height() + 1,
            right: area.left + style.padding + sheet.width("person 0.83 #12"),
            bottom,
        };
        let pixels = usize::try_from(plate.pixels()).expect("some");
        let bright = drawn.count(plate, |luma| luma > 200);
        let dark = drawn.count(plate, |luma| luma < 110);
        assert!(
            bright > pixels / 20,
            "{size}: {bright} of {pixels} are bright"
        );
        assert!(dark > pixels / 3, "{size}: {dark} of {pixels} are dark");
    }
}

#[test]
fn predicted_boxes_are_dashed() {
    let size = SIZES[0];
    let place = bounds(size, [0.4, 0.4, 0.6, 0.8]);
    let coloured = |predicted| {
        let object = Object {
            predicted,
            ..object(place)
        };
        let drawn = Drawn::new(size, layers(true, false, false, false), &[], &[object]);
        let area = area_of(&place, &Area::of(&drawn.layout)).grown(2);
        let left = Area {
            right: area.left + 4,
            ..area
        };
        drawn.count(left, |luma| luma == colour().y)
    };
    let (solid, dashed) = (coloured(false), coloured(true));
    assert!(
        dashed * 3 > solid && dashed * 3 < solid * 2,
        "{dashed} of {solid}"
    );
}

#[test]
fn landmarks_are_dots_where_the_box_is_drawn() {
    let size = SIZES[0];
    let points = [[300.5, 200.5], [f32::NAN, 1.0], [1e9, 1e9]];
    let object = Object {
        landmarks: &points,
        ..object(bounds(size, [0.4, 0.4, 0.6, 0.8]))
    };
    let dot = Area {
        left: 299,
        top: 199,
        right: 302,
        bottom: 202,
    };
    let pixels = |layers| {
        let drawn = Drawn::new(size, layers, &[], &[object]);
        drawn.count(dot, |luma| luma == colour().y)
    };
    assert!(pixels(layers(true, false, false, false)) >= 5);
    assert_eq!(pixels(layers(false, true, true, false)), 0);
}

#[test]
fn boxes_outside_or_without_numbers_are_not_drawn() {
    let size = SIZES[0];
    let nothing = |place: [f32; 4]| {
        let place = BoundingBox {
            x1: place[0],
            y1: place[1],
            x2: place[2],
            y2: place[3],
        };
        let trail = [[f32::NAN, 1.0], [2.0, f32::INFINITY], [1.0, 1.0]];
        let object = Object {
            trail: &trail,
            ..object(place)
        };
        Drawn::new(size, layers(true, true, true, false), &[], &[object]).touched()
    };
    assert_eq!(nothing([f32::NAN, 0.0, 10.0, 10.0]), 0);
    assert_eq!(nothing([10.0, 10.0, 0.0, 0.0]), 0);
    assert_eq!(nothing([0.0, 0.0, f32::INFINITY, 10.0]), 0);
    assert_eq!(nothing([1e9, 1e9, 2e9, 2e9]), 0);
    assert_eq!(nothing([-900.0, -900.0, -800.0, -800.0]), 0);
    assert!(
        nothing([-1e30, -1e30, 1e30, 1e30]) > 100,
        "a box around all of it"
    );
}

#[test]
fn layers_that_are_off_leave_no_trace() {
    let size = SIZES[0];
    let trail = [[10.0, 10.0], [200.0, 200.0]];
    let object = Object {
        trail: &trail,
        ..object(bounds(size, [0.4, 0.4, 0.6, 0.8]))
    };
    let zone = Mark::Zone {
        name: "bay".to_owned(),
        corners: vec![[300.0, 100.0], [600.0, 100.0], [600.0, 300.0]],
    };
    let touched =
        |layers| Drawn::new(size, layers, std::slice::from_ref(&zone), &[object]).touched();
    assert_eq!(touched(layers(false, false, false, false)), 0);
    let each = [
        touched(layers(true, false, false, false)),
        touched(layers(false, true, false, false)),
        touched(layers(false, false, true, false)),
        touched(layers(false, false, false, true)),
    ];
    for layer in each {
        assert!(layer > 300, "{each:?}");
    }
}

#[test]
fn zones_and_lines_are_drawn_with_their_names_and_an_arrow() {
    let size = SIZES[1];
    let line = |forward| Mark::Line {
        name: "gate".to_owned(),
        from: [200.0, 500.0],
        to: [800.0, 500.0],
        forward,
    };
    let touched =
        |mark: Mark| Drawn::new(size, layers(false, false, true, false), &[mark], &[]).touched();
    let (plain, arrow) = (touched(line(None)), touched(line(Some([0.0, 1.0]))));
    assert!(arrow > plain + 100, "{plain} and {arrow}");
    let degenerate = Mark::Zone {
        name: String::new(),
        corners: Vec::new(),
    };
    touched(degenerate);
    touched(line(Some([f32::NAN, 0.0])));
}

#[test]
fn the_status_line_reads_as_documented() {
    let layout = I420Layout::of(SIZES[0]);
    let mut overlay = Overlay::new(
        layers(false, false, false, true),
        layout,
        ColourMatrix::Bt601,
        &[],
    );
    overlay.compose_status(&STATUS);
    assert_eq!(overlay.line, "yard  12:34:56 UTC   84 ms");
    overlay.compose_status(&Status {
        latency_ms: None,
        wall_ms: -1000,
        ..STATUS
    });
    assert_eq!(overlay.line, "yard  23:59:59 UTC");
    overlay.compose_label(&object(BoundingBox::default()));
    assert_eq!(overlay.line, "person 0.83", "the id goes with the trails");
    assert!(!overlay.draw(&mut [0; 100], std::iter::empty(), None, &STATUS));
}

#[test]
fn nothing_is_allocated_in_steady_state() {
    let size = SIZES[0];
    let layout = I420Layout::of(size);
    let trail: Vec<Point> = (0..32_u8)
        .map(|step| [f32::from(step) * 9.0, 200.0])
        .collect();
    let objects: Vec<Object<'_>> = (0..20_u8)
        .map(|index| {
            let x = f32::from(index) * 0.045;
            Object {
                trail: &trail,
                track: Some(index.into()),
                ..object(bounds(size, [x, 0.3, x + 0.1, 0.6]))
            }
        })
        .collect();
    let mark = Mark::Zone {
        name: "bay".to_owned(),
        corners: vec![[300.0, 100.0], [600.0, 100.0], [600.0, 300.0]],
    };
    let mut bytes = vec![GREY; layout.bytes];
    let mut overlay = Overlay::new(
        layers(true, true, true, true),
        layout,
        ColourMatrix::Bt709,
        &[mark],
    );
    let mut draw = || overlay.draw(&mut bytes, objects.iter().copied(), None, &STATUS);
    draw();
    let allocations = allocation_counter::measure(|| {
        draw();
    });
    assert_eq!(allocations.count_total, 0);
}

fn map(columns: usize, values: CellValues, cells: Vec<u16>) -> PictureMap {
    PictureMap::new(columns, values, cells).expect("a map")
}

const DEPTH: CellValues = CellValues::Depth {
    first: 0.0,
    last: 1.0,
};

#[test]
fn near_is_bright_and_far_is_dark_and_nothing_outside_is_touched() {
    let layout = I420Layout::of(SIZES[0]);
    let area = Area {
        left: 100,
        top: 50,
        right: 300,
        bottom: 150,
    };
    let map = map(2, DEPTH, vec![0, u16::MAX]);
    let luma = |near: NearValues, column: usize, row: usize| {
        let layers = OverlaySpec {
            near,
            ..layers(false, false, false, false)
        };
        let mut bytes = vec![GREY; layout.bytes];
        let mut overlay = Overlay::new(layers, layout, ColourMatrix::Bt709, &[]);
        overlay.draw_depth(&layout, &mut bytes, Some(&map), area);
        bytes[row * layout.strides[0] + column]
    };
    assert!(luma(NearValues::Large, 290, 100) > 200);
    assert!(luma(NearValues::Large, 110, 100) < 40);
    assert!(luma(NearValues::Small, 110, 100) > 200);
    // Between the middles of two cells the colour is between.
    let between = luma(NearValues::Large, 200, 100);
    assert!((60..180).contains(&between), "{between}");
    for (column, row) in [(99, 100), (300, 100), (200, 49), (200, 150)] {
        assert_eq!(luma(NearValues::Large, column, row), GREY);
    }
}

#[test]
fn classes_tint_their_places_and_the_background_stays() {
    let layout = I420Layout::of(SIZES[0]);
    let labels = ["background".to_owned(), "road".to_owned()];
    let map = map(4, CellValues::Classes, vec![0, 1, 1, NO_CLASS]);
    let classes = Classes {
        map: &map,
        labels: &labels,
    };
    let drawn = |wanted: bool| {
        let layers = OverlaySpec {
            classes: wanted,
            ..layers(false, false, false, false)
        };
        let mut bytes = vec![GREY; layout.bytes];
        let mut overlay = Overlay::new(layers, layout, ColourMatrix::Bt709, &[]);
        overlay.draw(&mut bytes, std::iter::empty(), Some(classes), &STATUS);
        let width = layout.size.width as usize;
        let at = |quarter: usize| bytes[layout.offsets[2] + (width * quarter + width / 2) / 8];
        [at(0), at(1), at(2), at(3)]
    };
    let tinted = drawn(true);
    assert_eq!((tinted[0], tinted[3]), (GREY, GREY));
    assert!(tinted[1] != GREY && tinted[1] == tinted[2]);
    assert_eq!(drawn(false), [GREY; 4]);
}

#[test]
fn a_map_allocates_only_when_sizes_change() {
    let layout = I420Layout::of(SIZES[0]);
    let area = Area::of(&layout);
    let map = map(16, DEPTH, (0..256).collect());
    let mut bytes = vec![GREY; layout.bytes];
    let layers = layers(false, false, false, false);
    let mut overlay = Overlay::new(layers, layout, ColourMatrix::Bt709, &[]);
    let mut draw = || overlay.draw_depth(&layout, &mut bytes, Some(&map), area);
    draw();
    assert_eq!(allocation_counter::measure(draw).count_total, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_box_however_wild_panics(
        boxes in prop::collection::vec(prop::array::uniform4(-2.0_f32..3.0), 0..12),
        odd in any::<bool>(),
    ) {
        let size = if odd { SIZES[2] } else { SIZES[0] };
        let objects: Vec<Object<'_>> = boxes.iter().map(|place| object(bounds(size, *place))).collect();
        Drawn::new(size, layers(true, true, true, true), &[], &objects);
    }
}
