//! The service's description of itself: `GET /openapi.json`.

/// OpenAPI 3.1, kept by hand and held to the code by the tests here and in `tests/it/openapi.rs`.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails

    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::respond;
    use super::DOCUMENT;
    use crate::decode::EventType;
    use crate::error::{Error, ErrorKind};
    use crate::export::ExportId;
    use crate::pushdown::columns::COLUMNS;
    use crate::receipt::{Receipt, Status};
    use crate::request::{
        Asked, Compression, DEFAULT_PART_ROWS, ExportRequest, FILTERS, Format, PARAMETERS,
        PART_ROWS, WebsiteId,
    };

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    fn component(kind: &str, name: &str) -> Value {
        document()["components"][kind][name].take()
    }

    /// The thing itself where the document only points at it.
    fn resolved(document: &Value, value: &Value) -> Value {
        match value["$ref"].as_str() {
            None => value.clone(),
            Some(pointer) => {
                let pointer = pointer.strip_prefix('#').unwrap();
                let found = document.pointer(pointer);
                resolved(document, found.unwrap_or_else(|| panic!("no {pointer}")))
            }
        }
    }

    fn strings<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<&'a str> {
        values.into_iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn the_parameters_are_those_that_a_request_may_use() {
        let document = document();
        let export = &document["paths"]["/api/websites/{id}/export"];
        for method in ["get", "head"] {
            let parameters = export[method]["parameters"].as_array().unwrap();
            let parameters: Vec<_> = parameters
                .iter()
                .map(|parameter| resolved(&document, parameter))
                .collect();
            let of_query: Vec<_> = parameters.iter().filter(|p| p["in"] == "query").collect();
            let names = strings(of_query.iter().map(|parameter| &parameter["name"]));
            let of_code = PARAMETERS.iter().chain(&FILTERS).chain(&["data.KEY"]);
            assert_eq!(names, of_code.copied().collect::<Vec<_>>());
            let required = of_query.iter().filter(|p| p["required"] == true);
            let required = strings(required.map(|parameter| &parameter["name"]));
            // The window is, but there are two ways to say it.
            assert!(required.is_empty());
        }
        // The examples together are a request, with one of the two windows, and what has a default may be left out.
        let website = component("parameters", "Website")["example"].take();
        let website = WebsiteId::parse(website.as_str().unwrap()).unwrap();
        let mut pairs: Vec<(String, String)> = Vec::new();
        for parameter in export["get"]["parameters"].as_array().unwrap() {
            let parameter = resolved(&document, parameter);
            if parameter["in"] == "query" {
                let name = parameter["name"].as_str().unwrap().to_owned();
                let text = |value: &Value| value.as_str().map(str::to_owned);
                match &parameter["example"] {
                    Value::Array(values) if parameter["explode"] == false => {
                        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
                        pairs.push((name, values.join(",")));
                    }
                    Value::Array(values) => {
                        let values = values.iter().filter_map(text);
                        pairs.extend(values.map(|value| (name.clone(), value)));
                    }
                    Value::Object(values) => pairs.extend(
                        values
                            .iter()
                            .map(|(name, value)| (name.clone(), text(value).unwrap())),
                    ),
                    value => pairs.push((name, text(value).unwrap_or_else(|| value.to_string()))),
                }
            }
        }
        let (days, rest) = pairs.split_at(2);
        let (instants, rest) = rest.split_at(2);
        let (since, rest) = rest.split_at(1);
        for window in [days, instants] {
            let pairs = [window, rest].concat();
            ExportRequest::from_pairs(website.clone(), pairs).unwrap();
        }
        let rest = rest.iter().filter(|(name, _)| name != "limit").cloned();
        Asked::from_pairs(website.clone(), since.iter().cloned().chain(rest)).unwrap();
        pairs.truncate(2);
        let sparse = ExportRequest::from_pairs(website, pairs).unwrap();
        assert!(sparse.filters.is_empty() && sparse.fields.is_all() && sparse.limit.is_none());
        let default = |name: &str| component("parameters", name)["schema"]["default"].take();
        assert_eq!(default("Format"), sparse.format.as_str());
        assert_eq!(default("Timezone"), sparse.window.zone.name());
        assert_eq!(default("IncludeBots"), sparse.include_bots);
        assert_eq!(default("Spreadsheet"), sparse.spreadsheet);
        assert_eq!(default("Compression"), sparse.compression.as_str());
        let schema = component("parameters", "Compression")["schema"].take();
        let names = Compression::ALL.map(Compression::as_str);
        assert_eq!(strings(schema["enum"].as_array().unwrap()), names);
    }

    #[test]
    fn a_plan_takes_the_parameters_of_an_export_and_the_size_of_its_parts() {
        let document = document();
        let names = |path: &str, method: &str| {
            let parameters = document["paths"][path][method]["parameters"].as_array();
            let parameters = parameters.unwrap().iter();
            let parameters = parameters.map(|parameter| resolved(&document, parameter));
            let of_query = parameters.filter(|parameter| parameter["in"] == "query");
            let names = of_query.map(|parameter| parameter["name"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        let mut expected = names("/api/websites/{id}/export", "get");
        // A plan is of the whole export.
        expected.retain(|name| !["limit", "since"].contains(&name.as_str()));
        expected.push(PART_ROWS.to_owned());
        for method in ["get", "head"] {
            assert_eq!(names("/api/websites/{id}/export/plan", method), expected);
        }
        assert_eq!(
            names("/api/websites/{id}/export/tickets", "post"),
            names("/api/websites/{id}/export", "get")
        );
        let default = component("parameters", "PartRows")["schema"]["default"].take();
        assert_eq!(default, DEFAULT_PART_ROWS);
        let description = component("parameters", "PartRows")["description"].take();
        let most = crate::plan::MAX_PARTS.to_string();
        assert!(description.as_str().unwrap().contains(&most));
    }

    #[test]
    fn the_formats_and_types_of_events_are_those_of_the_code() {
        let formats = Format::ALL.map(Format::as_str);
        let schema = component("parameters", "Format")["schema"].take();
        assert_eq!(strings(schema["enum"].as_array().unwrap()), formats);
        let document = document();
        let ok = &document["paths"]["/api/websites/{id}/export"]["get"]["responses"]["200"];
        let content = ok["content"].as_object().unwrap();
        let types: BTreeSet<_> = content.keys().map(String::as_str).collect();
        assert_eq!(types, Format::ALL.map(Format::content_type).into());
        let types = [EventType::Pageview, EventType::Event].map(EventType::as_str);
        let schema = component("parameters", "EventType")["schema"].take();
        assert_eq!(strings(schema["enum"].as_array().unwrap()), types);
        let event = component("schemas", "Event");
        let schema = &event["properties"]["event_type"];
        assert_eq!(strings(schema["enum"].as_array().unwrap()), types);
    }

    #[test]
    fn an_event_has_the_columns_of_an_export() {
        let event = component("schemas", "Event");
        let fields = component("parameters", "Fields")["schema"]["items"].take();
        assert_eq!(strings(fields["enum"].as_array().unwrap()), COLUMNS);
        let properties: BTreeSet<_> = event["properties"].as_object().unwrap().keys().collect();
        assert_eq!(properties.len(), COLUMNS.len());
        assert!(
            COLUMNS
                .iter()
                .all(|&column| !event["properties"][column].is_null())
        );
        let header =
            document()["paths"]["/api/websites/{id}/export"]["get"]["responses"]["200"]["content"]
                ["text/csv; charset=utf-8"]["schema"]["description"]
                .take();
        let columns = COLUMNS.map(|column| format!("`{column}`")).join(", ");
        assert!(header.as_str().unwrap().contains(&columns), "{header}");
    }

    #[test]
    fn a_receipt_has_the_fields_of_its_schema() {
        let website = WebsiteId::parse("site_a").unwrap();
        let query = "start_date=2026-01-01&end_date=2026-01-01";
        let request = ExportRequest::from_query(website, query).unwrap();
        let receipt = Receipt::begin(&ExportId::random().unwrap(), &request);
        let receipt = serde_json::to_value(receipt).unwrap();
        let fields: BTreeSet<_> = receipt.as_object().unwrap().keys().collect();
        let schema = component("schemas", "Receipt");
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(fields, properties.keys().collect());
        assert_eq!(fields.into_iter().collect::<Vec<_>>(), {
            let mut required = strings(schema["required"].as_array().unwrap());
            required.sort_unstable();
            required
        });
        let statuses = [Status::Running, Status::Complete, Status::Aborted].map(Status::as_str);
        let schema = &properties["status"];
        assert_eq!(strings(schema["enum"].as_array().unwrap()), statuses);
    }

    /// One error of each kind that the service answers with; a new kind has to be put here before this compiles.
    fn kinds() -> Vec<ErrorKind> {
        let known = |kind: ErrorKind| match kind {
            ErrorKind::Validation
            | ErrorKind::BadRequest(_)
            | ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::MethodNotAllowed
            | ErrorKind::Cancelled
            | ErrorKind::RateLimited
            | ErrorKind::Unavailable
            | ErrorKind::Damaged
            | ErrorKind::BrokenOff
            | ErrorKind::QueryTimeout
            | ErrorKind::Usage
            | ErrorKind::Data
            | ErrorKind::Late
            | ErrorKind::Internal => kind,
        };
        let mut kinds = vec![
            ErrorKind::Validation,
            ErrorKind::Unauthorized,
            ErrorKind::Forbidden,
            ErrorKind::NotFound,
            ErrorKind::MethodNotAllowed,
            ErrorKind::Cancelled,
            ErrorKind::RateLimited,
            ErrorKind::Unavailable,
            ErrorKind::Damaged,
            ErrorKind::BrokenOff,
            ErrorKind::QueryTimeout,
            ErrorKind::Usage,
            ErrorKind::Data,
            ErrorKind::Late,
            ErrorKind::Internal,
        ];
        kinds.extend(unreadable().into_iter().map(ErrorKind::BadRequest));
        kinds.into_iter().map(known).collect()
    }

    /// The statuses that stand behind `BadRequest(` anywhere in the service's own code.
    fn unreadable() -> BTreeSet<u16> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve");
        let mut statuses = BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for rest in text.split("BadRequest(").skip(1) {
                statuses.extend(rest.split(')').next().and_then(|n| n.parse::<u16>().ok()));
            }
        }
        // What the guard says in hyper's stead, by hyper's own status.
        statuses.extend([408, 414, 431]);
        assert!(
            statuses.is_superset(&[400, 406, 505].into()),
            "{statuses:?}"
        );
        statuses
    }

    #[test]
    fn the_statuses_are_all_that_the_code_can_answer_with_and_no_others() {
        let document = document();
        let mut documented = BTreeSet::new();
        for path in document["paths"].as_object().unwrap().values() {
            for method in ["get", "head", "post", "delete", "x-other-methods"] {
                if path[method].is_null() {
                    continue;
                }
                let responses = match &path[method]["responses"] {
                    Value::Null => &path[method],
                    responses => responses,
                };
                for (status, response) in responses.as_object().unwrap() {
                    if status == "200" || status == "304" {
                        continue;
                    }
                    let response = resolved(&document, response);
                    let codes = &response["content"]["application/json"]["schema"]["allOf"][1]["properties"]
                        ["error"]["properties"]["code"];
                    let codes = match (&codes["const"], &codes["enum"]) {
                        (Value::String(code), _) => vec![code.as_str()],
                        (_, Value::Array(codes)) => strings(codes),
                        // HEAD has no body that could say one.
                        _ => vec![],
                    };
                    assert_eq!(codes.is_empty(), method == "head", "{status}");
                    let status: u16 = status.parse().unwrap();
                    documented.extend(codes.iter().map(|&code| (status, code.to_owned())));
                }
            }
        }
        let answered = kinds().into_iter().map(|kind| {
            let error = Error::new(kind, "");
            (
                respond::status(&error).as_u16(),
                respond::code(&error).to_owned(),
            )
        });
        let answered: BTreeSet<_> = answered.collect();
        assert_eq!(documented, answered);
        let error = component("schemas", "Error");
        let codes = &error["properties"]["error"]["properties"]["code"]["enum"];
        let codes: BTreeSet<_> = strings(codes.as_array().unwrap()).into_iter().collect();
        assert_eq!(
            codes,
            answered.iter().map(|(_, code)| code.as_str()).collect()
        );
    }

    #[test]
    fn every_pointer_leads_somewhere_and_nothing_lies_unused() {
        let document = document();
        let mut used = BTreeSet::new();
        for rest in DOCUMENT.split("\"$ref\": \"#").skip(1) {
            let pointer = rest.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            used.insert(pointer.to_owned());
        }
        for kind in ["parameters", "headers", "schemas", "responses"] {
            for name in document["components"][kind].as_object().unwrap().keys() {
                assert!(
                    used.contains(&format!("/components/{kind}/{name}")),
                    "{name}"
                );
            }
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
