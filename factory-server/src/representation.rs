//! Answers to GET and HEAD: status, header fields and the description of the body.
//!
//! The answer is decided before a byte is read, and is the same for HEAD as for GET.
//!
//! Source: RFC 9110 §9.3.2 (HEAD), §13.2.2 (order of preconditions), §14 and §15.3.7 (ranges).

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    RANGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use extent::ExtentMap;
use store::Store;
use tracing::{Instrument as _, debug_span};

use crate::cache;
use crate::error::Error;
use crate::metrics::Download;
use crate::precondition::{self, ETag, Outcome};
use crate::range::{self, Selection};

/// What a resource is represented by.
pub struct Representation {
    /// The bytes.
    pub map: ExtentMap,
    /// Changes whenever the bytes do.
    pub etag: ETag,
    /// The media type of the bytes.
    pub media_type: &'static str,
    /// The value of `Content-Disposition`, where it is a download.
    pub disposition: Option<String>,
    /// The value of `Cache-Control`.
    pub cache_control: &'static str,
}

/// An answer but for its bytes.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The header fields that belong to the representation.
    pub headers: HeaderMap,
    /// The body of a GET; its length is in the header fields.
    pub body: ExtentMap,
}

impl Representation {
    /// The answer to a GET or HEAD request with these header fields.
    pub fn answer(self, method: &Method, request: &HeaderMap) -> Answer {
        match precondition::evaluate(request, &self.etag) {
            Outcome::Failed => {
                let text = "the precondition failed: the entity tag is another one\n";
                self.answer_text(StatusCode::PRECONDITION_FAILED, text)
            }
            Outcome::NotModified => {
                let mut answer = Answer::new(StatusCode::NOT_MODIFIED, ExtentMap::new());
                answer.put(ETAG, &self.etag.to_string());
                answer.put(CACHE_CONTROL, self.cache_control);
                answer.headers.remove(CONTENT_LENGTH);
                answer
            }
            Outcome::Proceed => match self.select(method, request) {
                Selection::Whole => {
                    let map = self.map.clone();
                    self.answer_part(StatusCode::OK, self.media_type, map)
                }
                Selection::One(range) => self.answer_one(&range),
                Selection::Many(ranges) => self.answer_many(&ranges),
                Selection::Unsatisfiable => {
                    let len = self.map.len();
                    let text =
                        format!("no range that was asked for begins within the {len} bytes there are\n");
                    let mut answer = self.answer_text(StatusCode::RANGE_NOT_SATISFIABLE, &text);
                    answer.put(CONTENT_RANGE, &format!("bytes */{len}"));
                    answer
                }
            },
        }
    }

    /// Ranges are defined for GET alone (RFC 9110 §14.2), and for one field.
    fn select(&self, method: &Method, request: &HeaderMap) -> Selection {
        let mut fields = request.get_all(RANGE).iter();
        match (fields.next().map(HeaderValue::to_str), fields.next()) {
            (Some(Ok(field)), None)
                if method == Method::GET && precondition::range_applies(request, &self.etag) =>
            {
                range::select(field, self.map.len())
            }
            _ => Selection::Whole,
        }
    }

    fn answer_one(&self, range: &Range<u64>) -> Answer {
        let part = self.map.slice(range.clone());
        let mut answer = self.answer_part(StatusCode::PARTIAL_CONTENT, self.media_type, part);
        answer.put(CONTENT_RANGE, &range::content_range(range, self.map.len()));
        answer
    }

    fn answer_many(&self, ranges: &[Range<u64>]) -> Answer {
        // Bytes that held this would hold a digest of their own description. 70 characters is the limit.
        let boundary = self.map.id().hex();
        let body = range::multipart(&self.map, ranges, self.media_type, &boundary);
        let media_type = format!("multipart/byteranges; boundary={boundary}");
        self.answer_part(StatusCode::PARTIAL_CONTENT, &media_type, body)
    }

    fn answer_part(&self, status: StatusCode, media_type: &str, body: ExtentMap) -> Answer {
        let mut answer = Answer::new(status, body);
        answer.put(CONTENT_TYPE, media_type);
        answer.put(ETAG, &self.etag.to_string());
        answer.put(ACCEPT_RANGES, "bytes");
        answer.put(CACHE_CONTROL, self.cache_control);
        if let Some(disposition) = &self.disposition {
            answer.put(CONTENT_DISPOSITION, disposition);
        }
        answer
    }

    fn answer_text(&self, status: StatusCode, text: &str) -> Answer {
        let mut answer = Answer::new(status, ExtentMap::inline(text.to_owned().into_bytes()));
        answer.put(CONTENT_TYPE, "text/plain; charset=utf-8");
        answer.put(ETAG, &self.etag.to_string());
        answer.put(ACCEPT_RANGES, "bytes");
        answer.put(CACHE_CONTROL, cache::NEVER);
        answer
    }
}

impl Answer {
    /// The answer with its bytes from `store`. Every blob is open before the status line is sent.
    pub async fn stream(self, store: &Store, method: &Method) -> Result<Response, Error> {
        let body = match method {
            // A plan is all that a HEAD costs.
            &Method::HEAD => Body::empty(),
            _ => Body::from_stream(store.stream(self.body).await?),
        };
        Ok((self.status, self.headers, body).into_response())
    }

    /// The same, counted as `download`.
    pub async fn download(
        self,
        store: &Store,
        method: &Method,
        download: Download,
    ) -> Result<Response, Error> {
        if !self.status.is_success() || method == Method::HEAD {
            return self.stream(store, method).await;
        }
        let len = self.body.len();
        let span = debug_span!("stream", size_bytes = len);
        let opened = store.stream(self.body).instrument(span.clone()).await;
        let chunks = opened.inspect_err(|_| download.failed())?;
        let body = Body::from_stream(download.begin(chunks, len, span));
        Ok((self.status, self.headers, body).into_response())
    }

    fn new(status: StatusCode, body: ExtentMap) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(body.len()))]);
        Self { status, headers, body }
    }

    fn put(&mut self, name: HeaderName, value: &str) {
        let value = HeaderValue::from_str(value).expect("what is put into a field is made of visible ASCII");
        self.headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};

    use super::*;

    fn representation() -> Representation {
        let mut map = ExtentMap::inline(&b"0123456789"[..]);
        map.push_zeros(90);
        Representation {
            map,
            etag: ETag::of("e"),
            media_type: "application/zstd",
            disposition: Some("attachment; filename=\"x\"".to_owned()),
            cache_control: cache::IMMUTABLE,
        }
    }

    fn answer(method: &Method, fields: &[(HeaderName, &str)]) -> Answer {
        let headers =
            fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        representation().answer(method, &headers.collect())
    }

    fn field(answer: &Answer, name: &HeaderName) -> String {
        answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn every_answer_says_its_length_and_its_tag() {
        type Fields = &'static [(HeaderName, &'static str)];
        let table: &[(Fields, u16, &str, &str)] = &[
            (&[], 200, "100", ""),
            (&[(RANGE, "bytes=0-9")], 206, "10", "bytes 0-9/100"),
            (&[(RANGE, "bytes=-1")], 206, "1", "bytes 99-99/100"),
            (&[(RANGE, "bytes=100-")], 416, "66", "bytes */100"),
            (&[(RANGE, "lines=1-2")], 200, "100", ""),
            (&[(RANGE, "bytes=0-9"), (RANGE, "bytes=0-9")], 200, "100", ""),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"e\"")], 206, "10", "bytes 0-9/100"),
            (&[(RANGE, "bytes=0-9"), (IF_RANGE, "\"f\"")], 200, "100", ""),
            (&[(RANGE, "bytes=100-"), (IF_RANGE, "\"f\"")], 200, "100", ""),
            (&[(IF_NONE_MATCH, "\"e\"")], 304, "", ""),
            (&[(IF_NONE_MATCH, "\"e\""), (RANGE, "bytes=0-9")], 304, "", ""),
            (&[(IF_NONE_MATCH, "\"f\""), (RANGE, "bytes=0-9")], 206, "10", "bytes 0-9/100"),
            (&[(IF_MATCH, "\"f\"")], 412, "55", ""),
            (&[(IF_MATCH, "\"e\""), (RANGE, "bytes=0-9")], 206, "10", "bytes 0-9/100"),
        ];
        for (fields, status, len, content_range) in table {
            let mut headers = HeaderMap::new();
            for (name, value) in *fields {
                headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            let answer = representation().answer(&Method::GET, &headers);
            assert_eq!(answer.status.as_u16(), *status, "{fields:?}");
            assert_eq!(field(&answer, &CONTENT_LENGTH), *len, "{fields:?}");
            assert_eq!(field(&answer, &CONTENT_RANGE), *content_range, "{fields:?}");
            assert_eq!(field(&answer, &ETAG), "\"e\"", "{fields:?}");
            if !len.is_empty() {
                assert_eq!(answer.body.len().to_string(), *len, "{fields:?}");
            }
        }
    }

    #[test]
    fn head_has_the_fields_of_a_get_and_knows_no_ranges() {
        let (get, head) = (answer(&Method::GET, &[]), answer(&Method::HEAD, &[]));
        assert_eq!((get.status, &get.headers), (head.status, &head.headers));
        assert_eq!(field(&get, &CONTENT_DISPOSITION), "attachment; filename=\"x\"");
        assert_eq!(field(&get, &ACCEPT_RANGES), "bytes");
        let ranged = answer(&Method::HEAD, &[(RANGE, "bytes=0-9")]);
        assert_eq!((ranged.status, &ranged.headers), (head.status, &head.headers));
    }

    #[test]
    fn several_ranges_make_one_multipart_body() {
        let answer = answer(&Method::GET, &[(RANGE, "bytes=0-1,50-51")]);
        let boundary = representation().map.id().hex();
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(field(&answer, &CONTENT_TYPE), format!("multipart/byteranges; boundary={boundary}"));
        assert_eq!(field(&answer, &CONTENT_RANGE), "");
        assert_eq!(field(&answer, &CONTENT_LENGTH), answer.body.len().to_string());
        assert!(boundary.len() <= 70, "RFC 2046 §5.1.1");
    }
}
