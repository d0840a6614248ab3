//! Curves, as SVG.

/// A curve with a fraction for every position on the horizontal axis.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) color: &'static str,
    pub(crate) shares: Vec<f64>,
}

/// Draws the picture.
pub(crate) fn draw(planted: &[usize], curves: &[Curve]) -> String {
    let x = |at: usize| 60 + 80 * at;
    let y = |share: f64| 210.0 - 170.0 * share;
    let mut svg = String::from(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 420 250' font-family='sans-serif' font-size='11'>\n\
         <rect width='420' height='250' fill='white'/>\n\
         <text x='50' y='22'>share of the planted keys whose value is found</text>\n\
         <text x='180' y='245'>keys planted</text>\n\
         <path d='M50 35V210H400' stroke='black' fill='none'/>\n",
    );
    for (at, pairs) in planted.iter().enumerate() {
        svg += &format!("<text x='{}' y='226'>{pairs}</text>\n", x(at) - 5);
    }
    for percent in [0, 25, 50, 75, 100] {
        let y = y(f64::from(percent) / 100.0) + 4.0;
        svg += &format!("<text x='16' y='{y:.0}'>{percent} %</text>\n");
    }
    for (
        number,
        Curve {
            name,
            color,
            shares,
        },
    ) in curves.iter().enumerate()
    {
        let points = shares.iter().enumerate();
        let points = points.map(|(at, share)| format!("{},{:.1}", x(at), y(*share)));
        let points = points.collect::<Vec<_>>().join(" ");
        svg += &format!(
            "<polyline points='{points}' fill='none' stroke='{color}' stroke-width='2'/>\n\
             <text x='75' y='{}' fill='{color}'>{name}</text>\n",
            110 + 18 * number
        );
    }
    svg + "</svg>\n"
}
