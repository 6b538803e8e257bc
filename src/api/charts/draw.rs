//! Draws a chart as an SVG image: stacked bars or lines over time, in the dashboard's colours.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Widths that can be drawn, in CSS pixels. An image is drawn as wide as it is shown: scaled, its letters would be smaller
/// or larger than those around it.
pub const WIDTHS: std::ops::RangeInclusive<u32> = 240..=1_200;
/// The width where none is asked for.
pub const WIDTH: u32 = 560;
/// The height, always.
const HEIGHT: u32 = 250;
/// Room for a label below the chart; where there is less, labels are left out evenly.
const LABEL_ROOM: u32 = 64;
/// Height of a row of the legend.
const LEGEND_ROW: u32 = 22;
/// Width of a letter of the legend, roughly; the image has no font of its own to measure with.
const LETTER: i32 = 7;
/// Sizes of letters. The backend writes them divided by 1.24: these are 13, 12 and 14 pixels.
const LEGEND_SIZE: i32 = 16;
/// Those of the axes.
const LABEL_SIZE: i32 = 15;
/// Those of the words where there is nothing.
const NOTHING_SIZE: i32 = 17;

/// The page that a chart stands on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Dark on white.
    #[default]
    Light,
    /// Light on black.
    Dark,
}

/// What a series means, which gives it its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The most important: the accent.
    Main,
    /// The second.
    Second,
    /// The third.
    Third,
    /// The fourth.
    Fourth,
    /// The fifth.
    Fifth,
    /// Something bad.
    Bad,
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// How many.
    Count,
    /// Milliseconds, written as seconds.
    Millis,
}

/// How values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Bars on top of each other.
    Stacked,
    /// A line each; where a value is missing the line is broken.
    Lines,
}

/// One series of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is called in the legend.
    pub name: String,
    /// Its colour.
    pub tone: Tone,
    /// One value for each label.
    pub values: Vec<Option<f64>>,
}

/// All of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// How values are shown.
    pub shape: Shape,
    /// How they are written.
    pub unit: Unit,
    /// The stretches of time, oldest first.
    pub labels: Vec<String>,
    /// The series, the lowest of a stack first.
    pub series: Vec<Series>,
    /// Said where there is nothing to show.
    pub nothing: &'static str,
}

/// A chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the chart cannot be drawn: {0}")]
pub struct NotDrawn(String);

fn not_drawn(error: impl std::fmt::Display) -> NotDrawn {
    NotDrawn(error.to_string())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Theme {
    const fn ink(self) -> RGBColor {
        match self {
            Self::Light => RGBColor(81, 96, 110),
            Self::Dark => RGBColor(163, 178, 191),
        }
    }

    const fn line(self) -> RGBColor {
        match self {
            Self::Light => RGBColor(223, 228, 232),
            Self::Dark => RGBColor(43, 54, 64),
        }
    }

    const fn colour(self, tone: Tone) -> RGBColor {
        match (self, tone) {
            (Self::Light, Tone::Main) => RGBColor(11, 110, 99),
            (Self::Light, Tone::Second) => RGBColor(60, 87, 196),
            (Self::Light, Tone::Third) => RGBColor(208, 139, 28),
            (Self::Light, Tone::Fourth) => RGBColor(107, 91, 210),
            (Self::Light, Tone::Fifth) => RGBColor(136, 147, 160),
            (Self::Light, Tone::Bad) => RGBColor(176, 38, 29),
            (Self::Dark, Tone::Main) => RGBColor(81, 205, 185),
            (Self::Dark, Tone::Second) => RGBColor(155, 175, 255),
            (Self::Dark, Tone::Third) => RGBColor(230, 173, 76),
            (Self::Dark, Tone::Fourth) => RGBColor(160, 147, 255),
            (Self::Dark, Tone::Fifth) => RGBColor(133, 147, 161),
            (Self::Dark, Tone::Bad) => RGBColor(255, 150, 140),
        }
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            // Between whole numbers there is nothing to count.
            Self::Count if (value - value.round()).abs() > 0.01 => String::new(),
            Self::Count => format!("{value:.0}"),
            Self::Millis => format!("{} s", (value / 10.0).round() / 100.0),
        }
    }
}

impl Chart {
    /// The largest value shown; of a stack, its height.
    fn highest(&self) -> f64 {
        let known = |value: &Option<f64>| shown(*value).unwrap_or(0.0);
        match self.shape {
            Shape::Lines => self.series.iter().flat_map(|s| s.values.iter().map(known)).fold(0.0, f64::max),
            Shape::Stacked => (0..self.labels.len())
                .map(|i| self.series.iter().filter_map(|s| s.values.get(i)).map(known).sum())
                .fold(0.0, f64::max),
        }
    }
}

/// What of a value can be shown: nothing of what is no number, and no more than a million seconds.
fn shown(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite()).map(|v| v.clamp(0.0, 1e9))
}

/// The first round number that is not below `value`.
fn ceiling(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .iter()
        .map(|step| step * power)
        .find(|top| *top >= value * 0.999_999)
        .unwrap_or(power * 10.0)
}

/// The image, as text; `width` is brought within [`WIDTHS`].
pub fn draw(chart: &Chart, theme: Theme, width: u32) -> Result<String, NotDrawn> {
    let width = width.clamp(*WIDTHS.start(), *WIDTHS.end());
    let mut image = String::new();
    {
        let root = SVGBackend::with_string(&mut image, (width, HEIGHT)).into_drawing_area();
        let highest = chart.highest();
        if highest <= 0.0 || chart.labels.is_empty() {
            say_nothing(&root, chart.nothing, theme)?;
        } else {
            let places = legend(chart, width);
            let rows = places.iter().map(|(_, row)| row.saturating_add(1)).max().unwrap_or(0);
            let (legend, rest) = root.split_vertically(rows.saturating_mul(LEGEND_ROW).saturating_add(8));
            draw_legend(&legend, chart, &places, theme)?;
            draw_values(&rest, chart, ceiling(highest), theme)?;
        }
        root.present().map_err(not_drawn)?;
    }
    Ok(image)
}

fn words(size: i32, theme: Theme, at: Pos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&theme.ink()).pos(at)
}

fn say_nothing(area: &Area<'_>, text: &str, theme: Theme) -> Result<(), NotDrawn> {
    let (width, height) = area.dim_in_pixel();
    let middle = (i32::try_from(width / 2).unwrap_or(0), i32::try_from(height / 2).unwrap_or(0));
    area.draw(&Text::new(
        text.to_owned(),
        middle,
        words(NOTHING_SIZE, theme, Pos::new(HPos::Center, VPos::Center)),
    ))
    .map_err(not_drawn)
}

/// Where each series of the legend begins, and in which row: what does not fit goes to the next.
fn legend(chart: &Chart, width: u32) -> Vec<(i32, u32)> {
    let width = i32::try_from(width).unwrap_or(i32::MAX);
    let (mut x, mut row) = (4_i32, 0_u32);
    chart
        .series
        .iter()
        .map(|series| {
            let letters = i32::try_from(series.name.chars().count()).unwrap_or(0);
            let long = letters.saturating_mul(LETTER).saturating_add(17);
            if x > 4 && x.saturating_add(long) > width {
                (x, row) = (4, row.saturating_add(1));
            }
            let place = (x, row);
            x = x.saturating_add(long).saturating_add(16);
            place
        })
        .collect()
}

fn draw_legend(area: &Area<'_>, chart: &Chart, places: &[(i32, u32)], theme: Theme) -> Result<(), NotDrawn> {
    for (series, (x, row)) in chart.series.iter().zip(places) {
        let top = i32::try_from(row.saturating_mul(LEGEND_ROW)).unwrap_or(0).saturating_add(5);
        let square = Rectangle::new([(*x, top), (*x + 11, top + 11)], theme.colour(series.tone).filled());
        area.draw(&square).map_err(not_drawn)?;
        let style = words(LEGEND_SIZE, theme, Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(series.name.clone(), (*x + 17, top + 6), style)).map_err(not_drawn)?;
    }
    Ok(())
}

/// A position on the axis of time.
fn column(i: usize) -> f64 {
    f64::from(u32::try_from(i).unwrap_or(u32::MAX))
}

fn draw_values(area: &Area<'_>, chart: &Chart, top: f64, theme: Theme) -> Result<(), NotDrawn> {
    let mut plot = ChartBuilder::on(area)
        .margin_right(8)
        .margin_top(6)
        .x_label_area_size(28)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..column(chart.labels.len()), 0.0..top)
        .map_err(not_drawn)?;
    plot.configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_labels(5)
        .y_label_formatter(&|value| chart.unit.text(*value))
        .label_style(words(LABEL_SIZE, theme, Pos::new(HPos::Right, VPos::Center)))
        .bold_line_style(theme.line())
        .light_line_style(TRANSPARENT)
        .axis_style(theme.line())
        .draw()
        .map_err(not_drawn)?;
    draw_labels(area, &plot, chart, theme)?;
    match chart.shape {
        Shape::Stacked => draw_bars(&mut plot, chart, theme),
        Shape::Lines => draw_lines(&mut plot, chart, theme),
    }
}

/// The labels of time, below the middle of their columns.
fn draw_labels(area: &Area<'_>, plot: &Plot<'_, '_>, chart: &Chart, theme: Theme) -> Result<(), NotDrawn> {
    let most = usize::try_from(area.dim_in_pixel().0 / LABEL_ROOM).unwrap_or(1).max(1);
    let every = chart.labels.len().div_ceil(most).max(1);
    let (left, above) = area.get_base_pixel();
    for (i, label) in chart.labels.iter().enumerate().step_by(every) {
        let (x, y) = plot.backend_coord(&(column(i) + 0.5, 0.0));
        let style = words(LABEL_SIZE, theme, Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(label.clone(), (x - left, y - above + 8), style)).map_err(not_drawn)?;
    }
    Ok(())
}

fn draw_bars(plot: &mut Plot<'_, '_>, chart: &Chart, theme: Theme) -> Result<(), NotDrawn> {
    let mut bases = vec![0.0; chart.labels.len()];
    for series in &chart.series {
        let colour = theme.colour(series.tone);
        let bars: Vec<_> = bases
            .iter_mut()
            .zip(&series.values)
            .enumerate()
            .filter_map(|(i, (base, value))| {
                let value = shown(*value).filter(|v| *v > 0.0)?;
                let from = *base;
                *base += value;
                Some(Rectangle::new([(column(i) + 0.16, from), (column(i) + 0.84, *base)], colour.filled()))
            })
            .collect();
        plot.draw_series(bars).map_err(not_drawn)?;
    }
    Ok(())
}

fn draw_lines(plot: &mut Plot<'_, '_>, chart: &Chart, theme: Theme) -> Result<(), NotDrawn> {
    for series in &chart.series {
        let colour = theme.colour(series.tone);
        for run in runs(&series.values) {
            // A value alone between gaps would be a line of no length.
            if let [only] = *run.as_slice() {
                plot.draw_series([Circle::new(only, 3, colour.filled())]).map_err(not_drawn)?;
            } else {
                plot.draw_series(LineSeries::new(run, colour.stroke_width(2))).map_err(not_drawn)?;
            }
        }
    }
    Ok(())
}

/// The stretches of values without a gap, as points.
fn runs(values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for (i, value) in values.iter().enumerate() {
        match (shown(*value), runs.last_mut()) {
            (Some(value), Some(run)) => run.push((column(i) + 0.5, value)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(shape: Shape, values: &[&[Option<f64>]]) -> Chart {
        let tones = [Tone::Main, Tone::Second, Tone::Bad];
        Chart {
            shape,
            unit: Unit::Count,
            labels: (0..values.first().map_or(0, |v| v.len())).map(|i| format!("day {i}")).collect(),
            series: values
                .iter()
                .zip(tones)
                .enumerate()
                .map(|(i, (values, tone))| Series {
                    name: format!("series {i}"),
                    tone,
                    values: values.to_vec(),
                })
                .collect(),
            nothing: "No calls in this time",
        }
    }

    #[test]
    fn every_value_of_a_stack_is_a_bar() {
        let chart = chart(Shape::Stacked, &[&[Some(3.0), Some(1.0)], &[Some(2.0), None]]);
        let image = draw(&chart, Theme::Light, WIDTH).unwrap();
        assert!(image.starts_with("<svg"));
        // Two squares of the legend and three bars.
        assert_eq!(image.matches("<rect").count(), 5, "{image}");
        assert!(image.contains("series 1") && image.contains("day 1"));
    }

    #[test]
    fn a_gap_breaks_a_line() {
        let chart =
            chart(Shape::Lines, &[&[Some(1.0), Some(2.0), None, Some(3.0), Some(1.0), None, Some(2.0)]]);
        let image = draw(&chart, Theme::Light, WIDTH).unwrap();
        assert_eq!(image.matches("<circle").count(), 1, "{image}");
        assert_eq!(runs(&chart.series[0].values).len(), 3);
    }

    #[test]
    fn where_there_is_nothing_it_says_so() {
        for values in [&[][..], &[None, None], &[Some(0.0)], &[Some(f64::NAN)]] {
            let image = draw(&chart(Shape::Stacked, &[values]), Theme::Light, WIDTH).unwrap();
            assert!(image.contains("No calls in this time"), "{image}");
        }
    }

    #[test]
    fn names_are_text_and_never_markup() {
        let mut chart = chart(Shape::Stacked, &[&[Some(1.0)]]);
        chart.series[0].name = "<script>&\"'".into();
        chart.labels[0] = "</svg><b>".into();
        let image = draw(&chart, Theme::Light, WIDTH).unwrap();
        assert!(!image.contains("<script") && !image.contains("<b>"), "{image}");
        assert_eq!(image.matches("</svg>").count(), 1);
    }

    #[test]
    fn what_does_not_fit_beside_goes_below() {
        let mut chart = chart(Shape::Lines, &[&[Some(1.0)], &[Some(2.0)], &[Some(3.0)]]);
        for series in &mut chart.series {
            series.name = "a name of thirty letters or so".into();
        }
        let rows = |width| legend(&chart, width).into_iter().map(|(_, row)| row).collect::<Vec<_>>();
        assert_eq!(rows(1_200), [0, 0, 0]);
        assert_eq!(rows(600), [0, 0, 1]);
        assert_eq!(rows(300), [0, 1, 2]);
    }

    #[test]
    fn letters_are_as_large_in_a_narrow_chart_and_fewer() {
        let values: Vec<Option<f64>> = (0..30).map(|n| Some(f64::from(n))).collect();
        let chart = chart(Shape::Stacked, &[&values]);
        let (narrow, wide) =
            (draw(&chart, Theme::Light, 300).unwrap(), draw(&chart, Theme::Light, 1_000).unwrap());
        let sizes = |image: &str| {
            let mut sizes: Vec<String> =
                image.split("font-size=\"").skip(1).map(|s| s.split('"').next().unwrap().into()).collect();
            sizes.sort();
            sizes.dedup();
            sizes
        };
        assert_eq!(sizes(&narrow), sizes(&wide));
        assert!(narrow.contains("width=\"300\"") && wide.contains("width=\"1000\""));
        assert!(narrow.matches("day ").count() < wide.matches("day ").count());
    }

    #[test]
    fn themes_differ() {
        let chart = chart(Shape::Lines, &[&[Some(1.0), Some(2.0)]]);
        assert_ne!(draw(&chart, Theme::Light, WIDTH).unwrap(), draw(&chart, Theme::Dark, WIDTH).unwrap());
    }

    #[test]
    fn a_scale_ends_at_a_round_number() {
        for (value, top) in
            [(0.0, 1.0), (0.9, 1.0), (1.0, 1.0), (7.0, 8.0), (11.0, 15.0), (99.0, 100.0), (1_240.0, 1_500.0)]
        {
            assert!((ceiling(value) - top).abs() < 1e-9, "{value}: {}", ceiling(value));
        }
        assert!((ceiling(f64::NAN) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn units_are_written_as_read() {
        assert_eq!(Unit::Millis.text(850.0), "0.85 s");
        assert_eq!(Unit::Millis.text(1_500.0), "1.5 s");
        assert_eq!(Unit::Count.text(12.0), "12");
        assert_eq!(Unit::Count.text(0.5), "");
    }

    proptest::proptest! {
        #[test]
        fn any_values_can_be_drawn(
            values in proptest::collection::vec(proptest::option::of(proptest::num::f64::ANY), 0..40),
            lines in proptest::bool::ANY,
            width in proptest::num::u32::ANY,
        ) {
            let shape = if lines { Shape::Lines } else { Shape::Stacked };
            let image = draw(&chart(shape, &[&values, &values]), Theme::Dark, width);
            proptest::prop_assert!(image.is_ok_and(|image| image.ends_with("</svg>\n")));
        }
    }
}
