//! Answers the gateway gives itself: errors in the shape of store sheet 2.7 and outbound sheet 7.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

use super::view::RequestView;

/// A whole response made by the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Cow<'static, str>,
    /// The body.
    pub body: Cow<'static, str>,
    /// What it says, whatever the body's form.
    pub message: Cow<'static, str>,
    /// Send `X-Generator`.
    pub generator: bool,
    /// `WWW-Authenticate`.
    pub authenticate: Option<Box<str>>,
    /// Further fields, which a rule asks for.
    pub fields: Vec<(HeaderName, HeaderValue)>,
}

/// How a client wants errors written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorStyle {
    /// The request came as XML, so the error goes as XML.
    pub xml_type: Option<&'static str>,
    /// Leave `X-Generator` out (`hide_generator_header`).
    pub hide_generator: bool,
}

impl ErrorStyle {
    /// The style for a request: its content type decides.
    pub fn of(request: &RequestView<'_>, hide_generator: bool) -> Self {
        let content_type = request.fields.first("content-type").unwrap_or(b"");
        let media_type = content_type
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or(b"")
            .trim_ascii();
        let xml_type = ["application/xml", "text/xml", "application/soap+xml"]
            .into_iter()
            .find(|xml| media_type.eq_ignore_ascii_case(xml.as_bytes()));
        Self {
            xml_type,
            hide_generator,
        }
    }

    /// An error with a message for the client.
    pub fn error(self, status: u16, message: &str) -> Answer {
        let body = match self.xml_type {
            Some(_) => {
                format!(
                    "<?xml version = \"1.0\" encoding = \"UTF-8\"?>\n<error>{}</error>",
                    escape_xml(message)
                )
            }
            None => {
                let quoted = serde_json::to_string(message).expect("text is always JSON");
                format!("{{\n    \"error\": {quoted}\n}}")
            }
        };
        Answer {
            status,
            content_type: self.xml_type.unwrap_or("application/json").into(),
            body: body.into(),
            message: message.to_owned().into(),
            generator: !self.hide_generator,
            authenticate: None,
            fields: Vec::new(),
        }
    }
}

impl Answer {
    /// A plain text answer.
    pub fn text(status: u16, body: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8".into(),
            body: body.into(),
            message: body.into(),
            generator: false,
            authenticate: None,
            fields: Vec::new(),
        }
    }
}

fn escape_xml(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_bytes_clients_know() {
        let style = ErrorStyle {
            xml_type: None,
            hide_generator: false,
        };
        let answer = style.error(500, "There was a problem proxying the request");
        assert_eq!(
            answer.body,
            "{\n    \"error\": \"There was a problem proxying the request\"\n}"
        );
        let style = ErrorStyle {
            xml_type: Some("text/xml"),
            hide_generator: true,
        };
        let answer = style.error(500, "a<b");
        assert_eq!(
            answer.body,
            "<?xml version = \"1.0\" encoding = \"UTF-8\"?>\n<error>a&lt;b</error>"
        );
        assert_eq!(
            (&*answer.content_type, answer.generator),
            ("text/xml", false)
        );
    }
}
