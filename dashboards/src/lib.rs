//! Default dashboards and alert rules as data, rendered to the page and to Grafana.
