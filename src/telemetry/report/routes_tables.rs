//! The tables of `routes.html`, and definitions of their columns.

use crate::telemetry::routes::{Chance, ExpertName, LayerRoutes, RouteStudy};

use super::format::{count, escape, significant};

/// Definitions of the columns.
pub(super) const TERMS: &str = r#"<dl class="card terms">
<dt>null choices</dt><dd>Share of the choices that fall on null experts, which cost nothing.</dd>
<dt>MaxVio</dt><dd>Load of the busiest expert over the mean, less 1. 0: even.</dd>
<dt>N_eff</dt><dd>How many equally busy experts would have the entropy of the loads: all of them if even, 1 if one has all.</dd>
<dt>route ppl</dt><dd>Candidates of a token: exp of the mean entropy of its affinities.</dd>
<dt>SSI*</dt><dd>Cohesion: 1 less the mean distance of two tokens of one expert over that of any two, of what the router reads, centred. 0: routing has nothing to do with meaning; 1: tokens of an expert are alike.</dd>
<dt>RSI</dt><dd>Stability: share of a token's choice that stays when noise of 1 % is added to what the router reads.</dd>
<dt>saturation</dt><dd>Share of a token's choice that the other checkpoint makes too. It rises towards 1 as routers settle.</dd>
<dt>MI</dt><dd>Specialization: entropy of the mean affinities less the mean entropy, in nats. 0: every token has the same affinities.</dd>
<dt>domain MI, NMI</dt><dd>What the expert tells about the domain of the document, in nats and between 0 and 1.</dd>
<dt>legacy SSI, legacy ppl</dt><dd>StructuredDNA's formulas, for comparison with its publication only. They do not see the routing: random labels on vectors with a mean cosine of 0.88 have 0.998 and 8.74, the figures that were published.</dd>
</dl>
"#;

const NONE: &str = "–";

fn cell(value: Option<f64>) -> String {
    value.map_or(NONE.into(), significant)
}

fn table(heading: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads: String = heading
        .iter()
        .map(|name| format!(r#"<th scope="col">{name}</th>"#))
        .collect();
    let rows: String = rows
        .map(|row| {
            let cells = row.into_iter().map(|cell| format!("<td>{cell}</td>"));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        })
        .collect();
    if rows.is_empty() {
        String::new()
    } else {
        format!(
            r#"<div class="card scroll figures"><table><thead><tr>{heads}</tr></thead>
<tbody>{rows}</tbody></table></div>
"#
        )
    }
}

fn headings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).into()).collect()
}

/// The figures of every layer.
pub(super) fn figures(study: &RouteStudy) -> String {
    let heading = headings(&[
        "layer",
        "null choices",
        "MaxVio",
        "N_eff",
        "route ppl",
        "SSI*",
        "SSI* above chance, sd",
        "RSI",
        "saturation",
        "MI",
        "domain MI",
        "domain NMI",
        "NMI above chance, sd",
        "legacy SSI",
        "legacy ppl",
    ]);
    let row = |layer: &LayerRoutes| {
        let it = &layer.figures;
        let null: u64 = layer.null_visits.iter().sum();
        let all = null + layer.visits.iter().sum::<u64>();
        let null = (!layer.null_visits.is_empty() && all > 0)
            .then(|| format!("{} %", significant(100.0 * null as f64 / all as f64)));
        let mut cells = vec![layer.layer.to_string(), null.unwrap_or(NONE.into())];
        cells.extend(
            [
                it.max_vio,
                it.effective_experts,
                it.route_ppl,
                it.cohesion,
                Chance::below(it.cohesion_by_chance, it.cohesion),
                it.stability,
                it.saturation,
                it.specialization_nats,
                it.domain_mi_nats,
                it.domain_nmi,
                Chance::below(it.domain_nmi_by_chance, it.domain_nmi),
                it.legacy_ssi,
                it.legacy_semantic_ppl,
            ]
            .map(cell),
        );
        cells
    };
    table(&heading, study.layers.iter().map(row))
}

/// The experts with a label, and the number of those without one.
pub(super) fn names(study: &RouteStudy) -> String {
    let heading = headings(&[
        "layer",
        "expert",
        "name",
        "lift, first half",
        "lift, second half",
        "visits, second half",
    ]);
    let labels = study.layers.iter().flat_map(|layer| {
        let labels = layer.labels.iter();
        labels.map(move |label| (layer.layer, label))
    });
    let (mut mixed, mut few, mut named) = (0, 0, Vec::new());
    for (layer, label) in labels {
        match label.name {
            ExpertName::Mixed => mixed += 1,
            ExpertName::TooFewVisits => few += 1,
            ExpertName::Domain(domain) => named.push(vec![
                layer.to_string(),
                label.expert.to_string(),
                domain.name().into(),
                cell(label.probe_lift),
                cell(label.held_out_lift),
                count(label.held_out_visits as f64),
            ]),
        }
    }
    let all = mixed + few + named.len();
    if all == 0 {
        return String::new();
    }
    let sum = format!(
        "<p class=\"note\">{} of {all} experts have a name; {mixed} are mixed, {few} have too few visits.</p>\n",
        named.len()
    );
    table(&heading, named.into_iter()) + &sum
}

/// Every expert with the tokens of the highest lift; empty if none has such tokens.
pub(super) fn tokens(study: &RouteStudy) -> String {
    let heading = headings(&["layer", "expert", "tokens, highest lift first"]);
    let rows = study.layers.iter().flat_map(|layer| {
        let experts = layer.top_tokens.iter().enumerate();
        let some = experts.filter(|(_, tokens)| !tokens.is_empty());
        some.map(move |(expert, tokens)| {
            let tokens = tokens.iter();
            let tokens: Vec<String> = tokens
                .map(|token| format!("<code>{}</code>", visible(token)))
                .collect();
            vec![
                layer.layer.to_string(),
                expert.to_string(),
                tokens.join(" "),
            ]
        })
    });
    let table = table(&heading, rows);
    if table.is_empty() {
        table
    } else {
        format!(
            "<details class=\"card\"><summary>Tokens of every expert</summary>\n<p class=\"note\">Tokens that visit the expert at \
             least 20 times and at least 1.5 times as often as all tokens do.</p>\n{table}</details>\n"
        )
    }
}

/// A token with visible spaces and line ends.
fn visible(token: &str) -> String {
    escape(token)
        .replace(' ', "␣")
        .replace('\n', "⏎")
        .replace('\t', "⇥")
}

/// Distinct experts per window, by layer.
pub(super) fn windows(study: &RouteStudy) -> String {
    let windows = &study.locality.windows;
    let mut heading = vec!["layer".to_owned()];
    heading.extend(windows.iter().map(|window| match window.tokens {
        1 => "1 token".into(),
        tokens => format!("{tokens} tokens"),
    }));
    let rows = study.layers.iter().enumerate().map(|(at, layer)| {
        let mut row = vec![layer.layer.to_string()];
        row.extend(windows.iter().map(|window| {
            let distinct = window.distinct.get(at).copied().flatten();
            let independent = window.if_independent.get(at).copied();
            format!("{} ({})", cell(distinct), cell(independent))
        }));
        row
    });
    let table = table(&heading, rows);
    if table.is_empty() {
        table
    } else {
        table
            + "<p class=\"note\">Mean number of distinct experts that so many consecutive tokens of a document visit; in \
                   parentheses what it would be if every token chose for itself with the same loads. Fewer than that is \
                   locality.</p>\n"
    }
}
