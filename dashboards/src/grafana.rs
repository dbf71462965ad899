//! A [`Dashboard`] as the JSON that Grafana imports (schema version 41, Grafana 11 and later).
//!
//! The expressions go over as they are: `$service`, `$__rate_interval` and `$__range` mean the same there. What Grafana
//! has no panel for (our traces list) becomes a text panel that links to our page; everything else is native.

use serde_json::{Value, json};

use crate::definition::{Dashboard, GRID_COLUMNS, Kind, Level, Panel, Query, Unit, Variable};

const SCHEMA_VERSION: u32 = 41;
/// Grafana's grid is 24 wide.
const GRID_SCALE: u32 = 24 / GRID_COLUMNS as u32;
/// Heights in Grafana's rows of 30 pixels.
const HEIGHT: u32 = 8;
const STAT_HEIGHT: u32 = 4;

/// Renders for Grafana. Where a variable of the dashboard has a value, it becomes Grafana's current choice.
#[must_use]
pub fn grafana(dashboard: &Dashboard) -> Value {
    let mut variables = vec![json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "current": {}, "hide": 0, "includeAll": false, "multi": false, "refresh": 1,
    })];
    variables.extend(dashboard.variables.iter().map(variable));
    variables.push(json!({
        "name": "weir", "label": "Weir", "type": "textbox", "query": "http://127.0.0.1:9347", "hide": 0,
        "current": {"text": "http://127.0.0.1:9347", "value": "http://127.0.0.1:9347"},
        "description": "Address of Weir's own page, for links to traces.",
    }));
    let named = dashboard.variables.iter().find(|v| !v.value.is_empty()).map(|v| v.value.as_str());
    let title = named.map_or_else(|| format!("Weir: {}", dashboard.title), |value| format!("Weir: {value}"));
    json!({
        "title": title,
        "uid": named.map_or_else(|| Some(format!("weir-{}", dashboard.id)), |_| None),
        "description": dashboard.description,
        "tags": ["weir"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "annotations": {"list": []},
        "links": [],
        "panels": panels(dashboard),
    })
}

fn variable(variable: &Variable) -> Value {
    let (metric, label) = variable.source;
    let query = format!("label_values({metric}, {label})");
    let current = if variable.value.is_empty() {
        json!({})
    } else {
        json!({"selected": true, "text": variable.value, "value": variable.value})
    };
    json!({
        "name": variable.name, "label": variable.label, "type": "query", "datasource": datasource(),
        "definition": query, "query": {"query": query, "refId": "values", "qryType": 1},
        "current": current, "hide": 0, "includeAll": false, "multi": false, "refresh": 2, "regex": "", "sort": 1,
    })
}

/// Lays the sections out as rows with their panels under them, left to right.
fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let (mut drawn, mut id, mut y) = (Vec::new(), 0_u32, 0_u32);
    for section in &dashboard.sections {
        id += 1;
        drawn.push(json!({
            "id": id, "type": "row", "title": section.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        }));
        y += 1;
        let (mut x, mut row_height) = (0, 0);
        for panel in &section.panels {
            let (width, height) = (u32::from(panel.columns) * GRID_SCALE, height(panel));
            if x + width > 24 {
                (x, y, row_height) = (0, y + row_height, 0);
            }
            id += 1;
            let mut value = draw(panel);
            value["id"] = json!(id);
            value["gridPos"] = json!({"x": x, "y": y, "w": width, "h": height});
            drawn.push(value);
            x += width;
            row_height = row_height.max(height);
        }
        y += row_height;
    }
    drawn
}

fn height(panel: &Panel) -> u32 {
    match panel.kind {
        Kind::Stat | Kind::Traces => STAT_HEIGHT,
        _ => HEIGHT,
    }
}

fn draw(panel: &Panel) -> Value {
    let mut value = json!({
        "title": panel.title,
        "description": format!("{} When empty: {}", panel.description, panel.empty),
        "datasource": datasource(),
        "targets": panel.queries.iter().enumerate().map(|(i, q)| target(panel, i, q)).collect::<Vec<_>>(),
        "fieldConfig": {"defaults": {"unit": unit(panel.unit), "min": 0, "thresholds": thresholds(panel)}, "overrides": []},
    });
    match panel.kind {
        Kind::Timeseries => timeseries(panel, &mut value),
        Kind::Heatmap => heatmap(panel, &mut value),
        Kind::Stat => {
            value["type"] = json!("stat");
            value["options"] =
                json!({"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"});
        }
        Kind::Table | Kind::Dependencies => table(panel, &mut value),
        Kind::Traces => {
            value["type"] = json!("text");
            value["options"] = json!({"mode": "markdown", "content":
                "Failed, slow and recent traces of **$service**: [open its page in Weir]($weir/services/${service:percentencode}?from=$__from&to=$__to#traces)."});
        }
    }
    value
}

fn timeseries(panel: &Panel, value: &mut Value) {
    value["type"] = json!("timeseries");
    let custom = json!({
        "lineWidth": 1, "fillOpacity": if panel.stacked { 40 } else { 8 }, "showPoints": "never", "spanNulls": 60000,
        "stacking": {"mode": if panel.stacked { "normal" } else { "none" }, "group": "A"},
        "thresholdsStyle": {"mode": if panel.thresholds.is_empty() { "off" } else { "dashed" }},
    });
    value["fieldConfig"]["defaults"]["custom"] = custom;
    value["options"] = json!({
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
        "tooltip": {"mode": "multi", "sort": "desc"},
    });
}

/// Grafana draws one histogram per heatmap; the lines over ours are its own panel there.
fn heatmap(panel: &Panel, value: &mut Value) {
    value["type"] = json!("heatmap");
    value["targets"] = json!(panel.queries.iter().take(1).map(|q| target(panel, 0, q)).collect::<Vec<_>>());
    value["options"] = json!({
        "calculate": false, "cellGap": 1, "yAxis": {"unit": unit(panel.unit), "axisPlacement": "left"},
        "color": {"mode": "scheme", "scheme": "Blues", "steps": 64, "exponent": 0.5, "scale": "exponential"},
        "tooltip": {"mode": "single", "yHistogram": true}, "legend": {"show": false}, "exemplars": {"color": "orange"},
    });
}

/// One row per label set: the queries are merged on their labels, and each value column gets its name and unit.
fn table(panel: &Panel, value: &mut Value) {
    value["type"] = json!("table");
    let mut renamed = serde_json::Map::new();
    let mut overrides = Vec::new();
    for (i, query) in panel.queries.iter().enumerate() {
        renamed.insert(format!("Value #{}", reference(i)), json!(query.legend));
        overrides.push(json!({
            "matcher": {"id": "byName", "options": query.legend},
            "properties": [{"id": "unit", "value": unit(query.unit.unwrap_or(panel.unit))}],
        }));
    }
    value["transformations"] = json!([
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": true}, "renameByName": renamed}},
    ]);
    value["fieldConfig"]["overrides"] = json!(overrides);
    let first = panel.queries.first().map_or("", |q| q.legend);
    value["options"] = json!({"showHeader": true, "sortBy": [{"displayName": first, "desc": true}]});
}

fn target(panel: &Panel, index: usize, query: &Query) -> Value {
    let format = match panel.kind {
        Kind::Table | Kind::Dependencies => "table",
        Kind::Heatmap => "heatmap",
        _ => "time_series",
    };
    json!({
        "refId": reference(index), "datasource": datasource(), "expr": query.expr, "format": format,
        "legendFormat": query.legend, "instant": query.instant, "range": !query.instant,
        "exemplar": matches!(panel.unit, Unit::Seconds) && !query.instant, "editorMode": "code",
    })
}

/// `A`, `B`, … as Grafana names queries.
fn reference(index: usize) -> char {
    u8::try_from(index).ok().and_then(|i| b'A'.checked_add(i)).map_or('Z', char::from)
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn thresholds(panel: &Panel) -> Value {
    let mut steps = vec![json!({"color": "green", "value": null})];
    steps.extend(panel.thresholds.iter().map(|threshold| {
        let color = match threshold.level {
            Level::Warn => "orange",
            Level::Bad => "red",
        };
        json!({"color": color, "value": threshold.value})
    }));
    json!({"mode": "absolute", "steps": steps})
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::RequestsPerSecond => "reqps",
        Unit::OpsPerSecond => "ops",
        Unit::Ratio => "percentunit",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "binBps",
        Unit::Cores | Unit::Number => "short",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_never_overlap() {
        for dashboard in crate::all() {
            let value = grafana(&dashboard);
            let mut taken = std::collections::BTreeSet::new();
            for panel in value["panels"].as_array().unwrap() {
                let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
                assert!(at("x") + at("w") <= 24);
                let cells =
                    (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)));
                for cell in cells {
                    assert!(taken.insert(cell), "{} covers {cell:?}", panel["title"]);
                }
            }
        }
    }

    #[test]
    fn a_rendered_dashboard_keeps_its_service_as_the_current_choice() {
        let value = grafana(&crate::service().with_value("service", "shop/cart"));
        assert_eq!(value["templating"]["list"][1]["current"]["value"], "shop/cart");
        assert_eq!(value["title"], "Weir: shop/cart");
        assert!(value["panels"][1]["targets"][0]["expr"].as_str().unwrap().contains("$service"));
    }
}
