//! What is drawn onto a frame: zones and lines, trails, boxes with labels, a status line.
//!
//! Pure: it draws into I420 bytes and knows nothing of streams, encoders or the
//! clock. An [`Overlay`] owns everything that depends on the picture's size and
//! colour matrix (glyphs, stencils, converted colours), so that a frame costs
//! only the pixels it covers; in steady state nothing is allocated.

pub mod canvas;
mod caption;
pub mod colour;
pub mod finding;
mod heat;
mod hide;
pub mod label;
mod map;
pub mod shape;
pub mod stencil;
pub mod text;

use std::fmt::Write as _;

use contract::findings::PictureMap;
use contract::geometry::{BoundingBox, I420Layout};
use contract::motion::Cells;
use contract::spec::{CaptionSpec, ColourBy, Hiding, OverlaySpec};
use frame_bus::ColourMatrix;

use canvas::{Area, Canvas};
use caption::Caption;
use colour::{Palette, Rgb, Yuv};
use heat::Heat;
use map::MapPainter;
use shape::{Point, Stroke};
use stencil::Stencil;
use text::GlyphSheet;

/// Points of a trail that are drawn, the newest ones.
pub const TRAIL_POINTS_MAX: usize = 48;

/// Something that stands still in the picture; points are in its pixels.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// A closed polygon.
    Zone {
        /// Its name.
        name: String,
        /// Its corners.
        corners: Vec<Point>,
    },
    /// A line that tracks may cross.
    Line {
        /// Its name.
        name: String,
        /// One end.
        from: Point,
        /// The other end.
        to: Point,
        /// Whither a crossing counts as forward, of any length; no arrow when there is none.
        forward: Option<Point>,
    },
}

/// One box of a frame.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// Where; a box that is not valid is not drawn.
    pub bounds: BoundingBox,
    /// Points that the model found on it, drawn as dots where its box is drawn.
    pub landmarks: &'a [Point],
    /// Class name.
    pub label: &'a str,
    /// How sure the model was; `None` for a predicted box.
    pub score: Option<f32>,
    /// Track id: gives the colour.
    pub track: Option<u64>,
    /// Where the track was, oldest first.
    pub trail: &'a [Point],
    /// Carried by prediction, not seen in this frame: drawn dashed.
    pub predicted: bool,
    /// The colour that a rule wants it in. Such a box is drawn even where boxes are not wanted.
    pub colour: Option<Rgb>,
}

/// What a segmentation model sees, and the labels of its classes.
#[derive(Debug, Clone, Copy)]
pub struct Classes<'a> {
    /// Of the whole picture.
    pub map: &'a PictureMap,
    /// By class index.
    pub labels: &'a [String],
}

/// The status line.
#[derive(Debug, Clone, Copy)]
pub struct Status<'a> {
    /// Stream name.
    pub stream: &'a str,
    /// Wall clock of the frame, milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Measured latency, once there is one.
    pub latency_ms: Option<u64>,
}

/// Sizes of everything that goes with the height of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Style {
    text: f32,
    line: i32,
    padding: i32,
    margin: i32,
}

impl Style {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "heights are at most SIDE_MAX"
    )]
    fn of(height: u32) -> Self {
        let height = height as f32;
        let text = (height * 0.024).max(11.0).round();
        Self {
            text,
            line: (height * 0.0037).max(2.0).round() as i32,
            padding: (text * 0.3).round() as i32,
            margin: (text * 0.6).round() as i32,
        }
    }
}

/// The label that data sets give to what is none of their classes: it is not tinted.
const BACKGROUND: &str = "background";
/// Opacity of label plates: the ground shows through a little.
const PLATE_OPACITY: u8 = 225;
/// Opacity of zones and lines.
const MARK_OPACITY: u8 = 165;
/// Opacity of the dark rim that makes lines show on a bright ground.
const RIM_OPACITY: u8 = 70;

#[derive(Debug)]
struct DrawnMark {
    rim: Stencil,
    shape: Stencil,
    name: String,
    plate: Area,
}

/// Draws the frames of one stream, all of one size and matrix.
#[derive(Debug)]
pub struct Overlay {
    layers: OverlaySpec,
    layout: I420Layout,
    style: Style,
    palette: Palette,
    sheet: GlyphSheet,
    marks: Vec<DrawnMark>,
    captions: Vec<Caption>,
    maps: MapPainter,
    heat: Heat,
    // Kept between frames for their capacity.
    boxes: Vec<Area>,
    plates: Vec<Area>,
    line: String,
}

impl Overlay {
    /// An overlay for pictures of this layout and matrix.
    #[must_use]
    pub fn new(
        layers: OverlaySpec,
        layout: I420Layout,
        matrix: ColourMatrix,
        marks: &[Mark],
    ) -> Self {
        let style = Style::of(layout.size.height);
        let mut overlay = Self {
            maps: MapPainter::new(matrix, layers.near),
            layers,
            layout,
            style,
            palette: Palette::new(matrix),
            sheet: GlyphSheet::new(style.text),
            marks: Vec::new(),
            captions: Vec::new(),
            heat: Heat::default(),
            boxes: Vec::new(),
            plates: Vec::new(),
            line: String::new(),
        };
        overlay.marks = marks.iter().map(|mark| overlay.rasterised(mark)).collect();
        overlay
    }

    /// Writes these texts into every frame, with the status line.
    pub fn set_captions(&mut self, specs: &[CaptionSpec]) {
        let captions = specs.iter();
        let captions = captions.map(|spec| Caption::new(spec, &self.sheet, self.style.padding));
        self.captions = captions.collect();
    }

    /// Takes in what moved in a frame that is to be drawn.
    pub fn observe_motion(&mut self, moved: &Cells, pts_ns: u64) {
        if self.layers.heat {
            self.heat.observe(moved, pts_ns);
        }
    }

    /// Draws one frame; `objects` is gone through several times and should be in a stable order.
    /// Returns false, and draws nothing, when `bytes` is shorter than the layout says.
    pub fn draw<'a>(
        &mut self,
        bytes: &mut [u8],
        objects: impl Iterator<Item = Object<'a>> + Clone,
        classes: Option<Classes<'_>>,
        status: &Status<'_>,
    ) -> bool {
        let Some(mut canvas) = Canvas::new(&self.layout, bytes) else {
            return false;
        };
        let objects = objects.filter(|object| object.bounds.is_valid());
        self.plates.clear();
        if let Some(Classes { map, labels }) = classes.filter(|_| self.layers.classes) {
            let palette = &self.palette;
            self.maps.draw_classes(&mut canvas, map, |class| {
                let label = labels.get(usize::from(class));
                let is_something = label.is_none_or(|label| label != BACKGROUND);
                is_something.then(|| palette.track(class.into()))
            });
        }
        if self.layers.heat {
            self.heat.draw(&mut canvas, self.palette.chosen(heat::GLOW));
        }
        if self.layers.zones {
            self.draw_marks(&mut canvas);
        }
        if self.layers.trails {
            for object in objects.clone() {
                self.draw_trail(&mut canvas, &object);
            }
        }
        if self.layers.status {
            self.plates.extend(self.captions.iter().map(Caption::plate));
            self.reserve_status(&canvas, status);
        }
        let boxes = self.layers.boxes;
        let boxed = objects.filter(|object| boxes || object.colour.is_some());
        self.draw_boxes(&mut canvas, boxed.clone());
        self.draw_landmarks(&mut canvas, boxed.clone());
        self.draw_labels(&mut canvas, boxed);
        if self.layers.status {
            for caption in &self.captions {
                caption.draw(&mut canvas, &mut self.sheet, &self.palette);
            }
            self.draw_status(&mut canvas, status);
        }
        true
    }

    /// Draws a map of depth into `area` of the picture that lies in `bytes` as `whole` says,
    /// with a rim where it lies inside of another picture.
    pub fn draw_depth(
        &mut self,
        whole: &I420Layout,
        bytes: &mut [u8],
        map: Option<&PictureMap>,
        area: Area,
    ) {
        let Some(mut canvas) = Canvas::new(whole, bytes) else {
            return;
        };
        match map {
            Some(map) => self.maps.draw_depth(&mut canvas, area, map),
            None => canvas.fill(area, self.palette.ink, 255),
        }
        shape::outline(&mut canvas, area, 2, self.palette.ink, 255, None);
    }

    fn draw_marks(&mut self, canvas: &mut Canvas<'_>) {
        for mark in &self.marks {
            mark.rim.draw(canvas, self.palette.ink);
            mark.shape.draw(canvas, self.palette.white);
        }
        for mark in &self.marks {
            canvas.fill(mark.plate, self.palette.ink, MARK_OPACITY);
            let corner = (mark.plate.left + self.style.padding, mark.plate.top);
            self.sheet
                .write(canvas, corner, &mark.name, self.palette.white);
            self.plates.push(mark.plate);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a trail has few points")]
    fn draw_trail(&self, canvas: &mut Canvas<'_>, object: &Object<'_>) {
        if object.track.is_none() {
            return;
        }
        let colour = self.line_colour(object);
        let skipped = object.trail.len().saturating_sub(TRAIL_POINTS_MAX);
        let points = &object.trail[skipped..];
        let thick = (self.style.line as f32 * 1.25).max(2.5);
        // The tail is thin and the head thick, so that the direction is seen.
        let width = |index: usize| {
            let part = index as f32 / points.len().max(2) as f32;
            thick * (0.25 + 0.75 * part)
        };
        for (index, pair) in points.windows(2).enumerate() {
            let stroke = Stroke::tapered(pair[0], pair[1], width(index), width(index + 1));
            if let Some(stroke) = stroke {
                stroke.draw(canvas, colour);
            }
        }
    }

    fn draw_boxes<'a>(
        &mut self,
        canvas: &mut Canvas<'_>,
        objects: impl Iterator<Item = Object<'a>>,
    ) {
        self.boxes.clear();
        let picture = canvas.area();
        let width = self.style.line;
        for object in objects {
            let area = area_of(&object.bounds, &picture);
            self.boxes.push(area);
            if area.is_empty() {
                continue;
            }
            let colour = self.line_colour(&object);
            let outer = self.outer_edge(area, &picture);
            let dash = object.predicted.then_some(width * 4);
            // Two pixels, so that it covers whole chroma samples.
            shape::outline(
                canvas,
                outer.grown(2),
                2,
                self.palette.ink,
                RIM_OPACITY,
                None,
            );
            shape::outline(canvas, outer, width, colour, 255, dash);
        }
    }

    fn draw_landmarks<'a>(
        &self,
        canvas: &mut Canvas<'_>,
        objects: impl Iterator<Item = Object<'a>>,
    ) {
        #[expect(clippy::cast_precision_loss, reason = "a line is a few pixels wide")]
        let width = self.style.line as f32 * 2.0;
        for object in objects {
            let colour = self.line_colour(&object);
            for point in object.landmarks {
                let rim = Stroke::new(*point, *point, width + 2.0);
                let dot = Stroke::new(*point, *point, width);
                if let (Some(rim), Some(dot)) = (rim, dot) {
                    rim.draw(canvas, self.palette.ink);
                    dot.draw(canvas, colour);
                }
            }
        }
    }

    fn draw_labels<'a>(
        &mut self,
        canvas: &mut Canvas<'_>,
        objects: impl Iterator<Item = Object<'a>>,
    ) {
        let picture = canvas.area();
        for (index, object) in objects.enumerate() {
            let Some(area) = self.boxes.get(index).copied() else {
                break;
            };
            if area.is_empty() {
                continue;
            }
            self.compose_label(&object);
            let (width, height) = self.plate_size();
            let outer = self.outer_edge(area, &picture);
            let plate = label::place((width, height), outer, &picture, &self.plates, &self.boxes);
            let ground = match self.hue(object.colour, object.track, object.label) {
                Hue::Chosen(colour) => self.palette.chosen_plate(colour),
                Hue::Numbered(number) => self.palette.plate(number),
                Hue::None => self.palette.ink,
            };
            canvas.fill(plate, ground, PLATE_OPACITY);
            let corner = (plate.left + self.style.padding, plate.top);
            self.sheet
                .write(canvas, corner, &self.line, self.palette.white);
            self.plates.push(plate);
        }
    }

    /// Where the outline of a box ends: the middle of the line lies on the edge, rounded
    /// outwards to whole chroma samples so that its colour is as crisp as its luma, and
    /// at the border of the picture all of it stays visible.
    fn outer_edge(&self, area: Area, picture: &Area) -> Area {
        let outer = area.grown(self.style.line / 2);
        let even = Area {
            left: outer.left & !1,
            top: outer.top & !1,
            right: (outer.right + 1) & !1,
            bottom: (outer.bottom + 1) & !1,
        };
        even.intersection(picture)
    }

    /// `person 0.83 #12`; what is not known or not wanted is left out.
    fn compose_label(&mut self, object: &Object<'_>) {
        self.line.clear();
        self.line.push_str(object.label);
        // Writing to a String cannot fail.
        if let Some(score) = object.score {
            let _ = write!(self.line, " {score:.2}");
        }
        if let Some(track) = object.track.filter(|_| self.layers.trails) {
            let _ = write!(self.line, " #{track}");
        }
    }

    fn reserve_status(&mut self, canvas: &Canvas<'_>, status: &Status<'_>) {
        self.compose_status(status);
        let plate = self.status_plate(&canvas.area());
        self.plates.push(plate);
    }

    fn draw_status(&mut self, canvas: &mut Canvas<'_>, status: &Status<'_>) {
        self.compose_status(status);
        let plate = self.status_plate(&canvas.area());
        canvas.fill(plate, self.palette.ink, PLATE_OPACITY);
        let corner = (plate.left + self.style.padding, plate.top);
        self.sheet
            .write(canvas, corner, &self.line, self.palette.white);
    }

    /// `yard  12:34:56 UTC  84 ms`.
    fn compose_status(&mut self, status: &Status<'_>) {
        let second = status.wall_ms.div_euclid(1000).rem_euclid(86_400);
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        self.line.clear();
        let _ = write!(
            self.line,
            "{}  {hours:02}:{minutes:02}:{seconds:02} UTC",
            status.stream
        );
        if let Some(latency) = status.latency_ms {
            let _ = write!(self.line, "  {latency:3} ms");
        }
    }

    fn status_plate(&self, picture: &Area) -> Area {
        let (width, height) = self.plate_size();
        let margin = self.style.margin;
        let plate = Area {
            left: margin,
            top: margin,
            right: margin + width,
            bottom: margin + height,
        };
        plate.moved_inside(picture)
    }

    /// Of the plate under the composed line.
    fn plate_size(&self) -> (i32, i32) {
        let width = self.sheet.width(&self.line);
        (
            width.saturating_add(2 * self.style.padding),
            self.sheet.height(),
        )
    }

    fn line_colour(&self, object: &Object<'_>) -> Yuv {
        self.line_of(self.hue(object.colour, object.track, object.label))
    }

    fn line_of(&self, hue: Hue) -> Yuv {
        match hue {
            Hue::Chosen(colour) => self.palette.chosen(colour),
            Hue::Numbered(number) => self.palette.track(number),
            Hue::None => self.palette.white,
        }
    }

    /// What gives something its colour: a rule, before all, then what the config says.
    fn hue(&self, colour: Option<Rgb>, track: Option<u64>, label: &str) -> Hue {
        if let Some(colour) = colour {
            return Hue::Chosen(colour);
        }
        match self.layers.colours {
            ColourBy::Track => track.map_or(Hue::None, Hue::Numbered),
            ColourBy::Class => Hue::Numbered(number_of(label)),
            ColourBy::Rule => Hue::None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a line is a few pixels wide")]
    fn rasterised(&self, mark: &Mark) -> DrawnMark {
        let bound = Area::of(&self.layout);
        let width = self.style.line as f32;
        let segments = segments(mark, self.style.text);
        let strokes = |width: f32| -> Vec<Stroke> {
            let stroke = |segment: &[Point; 2]| Stroke::new(segment[0], segment[1], width);
            segments.iter().filter_map(stroke).collect()
        };
        let (name, anchor) = match mark {
            Mark::Zone { name, corners } => (name, topmost(corners)),
            Mark::Line { name, from, to, .. } => (name, topmost(&[*from, *to])),
        };
        let plate_width = self.sheet.width(name) + 2 * self.style.padding;
        let at = area_of(
            &BoundingBox {
                x1: anchor[0],
                y1: anchor[1],
                x2: anchor[0],
                y2: anchor[1],
            },
            &bound,
        );
        let plate = Area {
            left: at.left,
            top: at.top,
            right: at.left + plate_width,
            bottom: at.top + self.sheet.height(),
        };
        DrawnMark {
            rim: Stencil::new(&bound, &strokes(width + 2.0), RIM_OPACITY),
            shape: Stencil::new(&bound, &strokes(width), MARK_OPACITY),
            name: name.clone(),
            plate: plate.moved_inside(&bound),
        }
    }
}

/// Whence something has its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hue {
    /// Somebody chose it.
    Chosen(Rgb),
    /// It is the palette's of this number.
    Numbered(u64),
    /// It has none.
    None,
}

/// A number for a label, the same in every stream and run: FNV-1a.
fn number_of(label: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = label.bytes();
    bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}

/// Hides parts of a picture, given in its pixels. Returns false, and hides nothing, when
/// `bytes` is shorter than the layout says.
pub(crate) fn hide(
    layout: &I420Layout,
    bytes: &mut [u8],
    areas: impl IntoIterator<Item = BoundingBox>,
    method: Hiding,
) -> bool {
    let Some(mut canvas) = Canvas::new(layout, bytes) else {
        return false;
    };
    // The same grey in every matrix.
    let ink = colour::INK.to_yuv(ColourMatrix::Bt709);
    let picture = canvas.area();
    for bounds in areas {
        hide::hide(&mut canvas, area_of(&bounds, &picture), method, ink);
    }
    true
}

/// The straight parts of a mark.
fn segments(mark: &Mark, arrow_size: f32) -> Vec<[Point; 2]> {
    match mark {
        Mark::Zone { corners, .. } => {
            let next = corners.iter().cycle().skip(1);
            let pairs = corners.iter().zip(next);
            pairs.map(|(from, to)| [*from, *to]).collect()
        }
        Mark::Line {
            from, to, forward, ..
        } => {
            let mut segments = vec![[*from, *to]];
            if let Some(forward) = forward {
                let length = f32::hypot(forward[0], forward[1]).max(1e-6);
                let reach = arrow_size * 1.6;
                let middle = [f32::midpoint(from[0], to[0]), f32::midpoint(from[1], to[1])];
                let tip = [
                    middle[0] + forward[0] / length * reach,
                    middle[1] + forward[1] / length * reach,
                ];
                segments.push([middle, tip]);
                segments.extend(shape::arrow_head(tip, *forward, arrow_size * 0.7));
            }
            segments
        }
    }
}

fn topmost(points: &[Point]) -> Point {
    let upper = |a: &&Point, b: &&Point| a[1].total_cmp(&b[1]);
    points.iter().min_by(upper).copied().unwrap_or_default()
}

/// The pixels a box touches, cut to the picture.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and the result is cut to the picture"
)]
fn area_of(bounds: &BoundingBox, picture: &Area) -> Area {
    Area {
        left: bounds.x1.floor() as i32,
        top: bounds.y1.floor() as i32,
        right: bounds.x2.ceil() as i32,
        bottom: bounds.y2.ceil() as i32,
    }
    .intersection(picture)
}

#[cfg(test)]
mod tests;
