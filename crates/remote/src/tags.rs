//! The tags of a repository, page by page.
//!
//! Source: OCI distribution specification 1.1, listing tags; RFC 8288, `Link`.

use ::http::header::{ACCEPT, LINK};
use serde::Deserialize;
use url::Url;

use crate::client::Access;
use crate::http::{Ask, at, target};
use crate::{Client, Error, Reference};

/// Tags that are asked for at once. Registries give fewer, or all.
const PAGE_TAGS: &str = "n=1000";
/// The longest page: thirty thousand tags of the greatest length.
const MAX_PAGE_LEN: u64 = 4 << 20;
/// Tags of one repository. The busiest in public, with a signature for each image, have some ten thousand.
const MAX_TAGS: usize = 100_000;
/// Pages of one list: a registry that gives ten at a time and has more tags than anybody.
const MAX_PAGES: usize = 10_000;

#[derive(Deserialize)]
struct Page {
    /// `null` for a repository that has lost all of its tags.
    tags: Option<Vec<String>>,
}

impl Client {
    /// The tags of the repository of `reference`, in the registry's order. What is no tag by the grammar is left out.
    ///
    /// # Errors
    /// `NotFound`; `TooLong` and `BadAnswer` for a list without an end; and all that a network has.
    pub async fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        let mut url = self.url(reference, "tags/list")?;
        url.set_query(Some(PAGE_TAGS));
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let (tags, next) = self.page(reference, &url).await?;
            let is_empty = tags.is_empty();
            all.extend(tags.into_iter().filter(|tag| store::is_tag(tag)));
            if all.len() > MAX_TAGS {
                return Err(bad(&url, "a repository has at most 100 000 tags"));
            }
            match next {
                None => return Ok(all),
                Some(_) if is_empty => return Err(bad(&url, "a page before the last has tags")),
                Some(next) => url = next,
            }
        }
        Err(bad(&url, "a list of tags has at most 10 000 pages"))
    }

    /// The tags at `url`, and where more are.
    async fn page(&self, reference: &Reference, url: &Url) -> Result<(Vec<String>, Option<Url>), Error> {
        let mut retry = self.retry();
        loop {
            let read = async {
                let ask = Ask::get(url.clone(), &[(ACCEPT, "application/json")]);
                let answer = self.ask(reference, Access::Pull, ask).await?;
                let next = answer.headers.get_all(LINK).iter().find_map(|link| next(link.to_str().ok()?));
                let next = next.map(str::to_owned);
                Ok((answer.body.bytes("list of tags", MAX_PAGE_LEN).await?, next))
            };
            let (bytes, link) = match read.await {
                Ok(page) => page,
                Err(error) => {
                    retry.after(error).await?;
                    continue;
                }
            };
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|_| bad(url, "a list of tags is JSON and has them as text in `tags`"))?;
            let next = match link {
                Some(link) => Some(target(url, &link, url.scheme() == "http")?),
                None => None,
            };
            // Another host is nobody that we asked.
            if next.as_ref().is_some_and(|next| next.origin() != url.origin()) {
                return Err(bad(url, "the next page of a list is with the same registry"));
            }
            return Ok((page.tags.unwrap_or_default(), next));
        }
    }
}

fn bad(url: &Url, wanted: &'static str) -> Error {
    Error::BadAnswer { at: at(url), wanted }
}

/// Where a `Link` says that the next page is: `<address>; rel="next", …`.
fn next(link: &str) -> Option<&str> {
    let mut rest = link;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (address, after) = after.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or_default();
        let is_next = parameters.split(';').any(|parameter| {
            let parameter = parameter.trim_matches([' ', '\t', ',']);
            let value = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("rel"));
            value.is_some_and(|(_, value)| value.trim().trim_matches('"').eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(address);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_where_the_link_says() {
        for (link, expected) in [
            ("</v2/a/tags/list?last=b&n=2>; rel=\"next\"", Some("/v2/a/tags/list?last=b&n=2")),
            ("<https://r.example/x>; rel=next", Some("https://r.example/x")),
            ("</first>; rel=\"first\", </next>; title=\"a\"; Rel = \"NEXT\"", Some("/next")),
            ("</first>; rel=\"first\"", None),
            ("/next; rel=\"next\"", None),
            ("</next", None),
            ("", None),
        ] {
            assert_eq!(next(link), expected, "{link}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[<>;,=\"rel next é]{0,60}") {
            let _ = next(&text);
        }
    }
}
