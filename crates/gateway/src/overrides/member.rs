//! One member of a JSON text of which only the beginning may be at hand: it is found if it ends before the cut.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// The member that these steps lead to, as text; nothing for lists and objects.
pub fn find(json: &[u8], steps: &[String]) -> Option<String> {
    // A number that the text ends with may go on behind the cut. In a whole text something closes behind it.
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let end = json.iter().rposition(|byte| !goes_on(byte))? + 1;
    let mut found = None;
    let search = Search {
        steps,
        found: &mut found,
    };
    // What cannot be read behind the member changes nothing about it.
    let _ = search.deserialize(&mut serde_json::Deserializer::from_slice(&json[..end]));
    found
}

struct Search<'s> {
    steps: &'s [String],
    found: &'s mut Option<String>,
}

impl Search<'_> {
    fn is<T: ToString + ?Sized>(self, value: &T) {
        if self.steps.is_empty() {
            *self.found = Some(value.to_string());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match self.steps.split_first() {
                Some((step, steps)) if *step == name => {
                    // Of members with the same name the last one counts.
                    *self.found = None;
                    let found = &mut *self.found;
                    map.next_value_seed(Search { steps, found })?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let wanted = self.steps.split_first();
        let wanted = wanted.and_then(|(step, steps)| Some((step.parse::<usize>().ok()?, steps)));
        for place in 0.. {
            let more = match wanted {
                Some((wanted, steps)) if wanted == place => {
                    let found = &mut *self.found;
                    list.next_element_seed(Search { steps, found })?.is_some()
                }
                _ => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.is(value);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.is(&value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.is(&value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.is(&value);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        // Every number that JSON can hold.
        if let Some(value) = Number::from_f64(value) {
            self.is(&value);
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, path: &str) -> Option<String> {
        let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
        find(json.as_bytes(), &steps)
    }

    #[test]
    fn members_are_found_by_names_and_places_as_text() {
        let json =
            r#"{"a": [{"b": 7}, {"b": "x", "c": 1.50}], "d": true, "e": null, "f": {}, "g": -3}"#;
        for (path, value) in [
            ("a.0.b", Some("7")),
            ("a.1.b", Some("x")),
            ("a.1.c", Some("1.5")),
            ("d", Some("true")),
            ("g", Some("-3")),
            ("a", None),
            ("a.2.b", None),
            ("a.b", None),
            ("d.x", None),
            ("e", None),
            ("f", None),
            ("h", None),
        ] {
            assert_eq!(found(json, path).as_deref(), value, "{path}");
        }
        assert_eq!(found(r#"{"a": 1, "a": 2}"#, "a").as_deref(), Some("2"));
        assert_eq!(found(r#"{"a": 1, "a": {}}"#, "a"), None);
        for text in ["", "x", "12", "<a>", "\"a\""] {
            assert_eq!(found(text, "a"), None, "{text}");
        }
    }

    /// Wherever the text is cut: the member is found as it is, or not at all.
    #[test]
    fn a_member_is_found_before_a_cut_and_never_half_of_it() {
        for (value, text) in [
            ("\"long text\"", "long text"),
            ("12345", "12345"),
            ("true", "true"),
        ] {
            let json =
                format!(r#"{{"x": [1, 2], "error": {{"code": {value}, "more": "é"}}, "y": 1}}"#);
            let whole = json.find(value).expect("it is there") + value.len();
            for cut in 0..=json.len() {
                let steps = ["error".to_owned(), "code".to_owned()];
                let found = find(&json.as_bytes()[..cut], &steps);
                if cut > whole {
                    assert_eq!(found.as_deref(), Some(text), "{cut}");
                } else {
                    assert!(found.is_none_or(|found| found == text), "{cut}");
                }
            }
        }
    }
}
