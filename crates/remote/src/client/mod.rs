//! Requests to registries: tags and manifests.

mod login;

use std::sync::Arc;

use ::http::Method;
use ::http::header::{ACCEPT, CONTENT_TYPE};
use bytes::Bytes;
use extent::Digest;
use futures::future::{BoxFuture, FutureExt as _};
use url::Url;

use crate::auth::Tokens;
use crate::helper::Helped;
use crate::http::{Answer, Ask, Http, at};
use crate::retry::{Patience, Retry};
use crate::{Error, Options, PlainHttp, Reference, Registry};

/// The longest manifest or index that is read: what registries have to take, says the specification.
pub const MAX_MANIFEST_LEN: u64 = 4 << 20;

/// How often a mirror is asked.
const MIRROR_TRIES: u32 = 2;

/// The manifests that we read, as `Accept` has them.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// The digest of a manifest, as registries say it.
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";

/// A client of registries. Cheap to clone; a clone shares connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    tokens: Tokens,
    helped: Helped,
    options: Options,
}

/// A manifest or an index, as a registry gave it: its digest is that of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The digest of the bytes.
    pub digest: Digest,
    /// What the registry says that it is.
    pub media_type: Option<String>,
    /// The bytes. Nobody has looked into them.
    pub bytes: Bytes,
}

/// What is done in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

impl Client {
    /// A client that connects when it is asked to.
    pub fn new(options: Options) -> Self {
        let http = Http::new(options.connect, options.stall, options.proxies.clone());
        let (tokens, helped) = (Tokens::default(), Helped::default());
        Self { inner: Arc::new(Inner { http, tokens, helped, options }) }
    }

    /// The options that it was made with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The digest that `reference` has or whose tag names it now.
    ///
    /// # Errors
    /// `NotFound`, and all that a network has.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, Error> {
        if let Some(digest) = reference.digest() {
            return Ok(*digest);
        }
        self.anywhere(reference, |place| self.resolve_at(place).boxed()).await
    }

    async fn resolve_at(&self, reference: Reference) -> Result<Digest, Error> {
        match self.head_manifest(&reference).await {
            Ok(Some(digest)) => Ok(digest),
            // It says no digest, or knows no HEAD: the bytes have one.
            Ok(None) | Err(Error::Status { status: 405 | 501, .. }) => {
                Ok(self.manifest_at(&reference).await?.digest)
            }
            Err(error) => Err(error),
        }
    }

    /// The manifest that `reference` names: by its digest if there is one, by its tag otherwise.
    ///
    /// # Errors
    /// `NotFound`; `DigestMismatch` when the bytes are not what they are said to be; `TooLong`; and all that a
    /// network has.
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest, Error> {
        self.anywhere(reference, |place| async move { self.manifest_at(&place).await }.boxed()).await
    }

    /// What `ask` gets from the first place that has an answer: the mirrors of the registry, or itself.
    // A boxed future, for the compiler cannot tell of what an asynchronous closure borrows whether it may go to another thread.
    pub(crate) async fn anywhere<'a, T>(
        &self,
        reference: &Reference,
        ask: impl Fn(Reference) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut tried = Vec::new();
        for place in self.inner.options.mirrors.places(reference) {
            match ask(place).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.may_be_elsewhere() => {
                    tracing::debug!(%error, "no answer, asking elsewhere if there is one");
                    tried.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::everywhere(tried))
    }

    async fn manifest_at(&self, reference: &Reference) -> Result<Manifest, Error> {
        let mut retry = self.retry_at(reference);
        loop {
            match self.manifest_once(reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    async fn manifest_once(&self, reference: &Reference) -> Result<Manifest, Error> {
        let url = self.manifest_url(reference)?;
        let answer = self.ask(reference, Access::Pull, Ask::get(url.clone(), &[(ACCEPT, ACCEPTED)])).await?;
        let said = said_digest(&answer);
        let media_type = answer.header(CONTENT_TYPE).map(essence);
        let bytes = answer.body.bytes("manifest", MAX_MANIFEST_LEN).await?;
        let actual = Digest::of(&bytes);
        if let Some(expected) = reference.digest().copied().or(said).filter(|expected| *expected != actual) {
            return Err(Error::DigestMismatch { at: at(&url), expected, actual });
        }
        Ok(Manifest { digest: actual, media_type, bytes })
    }

    /// The digest that the registry says a manifest has, if it says one.
    pub(crate) async fn head_manifest(&self, reference: &Reference) -> Result<Option<Digest>, Error> {
        let url = self.manifest_url(reference)?;
        let ask = Ask { method: Method::HEAD, ..Ask::get(url, &[(ACCEPT, ACCEPTED)]) };
        Ok(said_digest(&self.ask_patiently(reference, Access::Pull, ask).await?))
    }

    /// The index of the referrers of `image`: from the registry's own list, or from the tag that stands for it.
    pub(crate) async fn referrers(&self, repository: &Reference, image: &Digest) -> Result<Bytes, Error> {
        self.anywhere(repository, |place| async move { self.referrers_at(&place, image).await }.boxed()).await
    }

    async fn referrers_at(&self, repository: &Reference, image: &Digest) -> Result<Bytes, Error> {
        let url = self.url(repository, &format!("referrers/{image}"))?;
        let mut retry = self.retry_at(repository);
        loop {
            let ask = Ask::get(url.clone(), &[(ACCEPT, ACCEPTED)]);
            let read = async {
                let answer = self.ask(repository, Access::Pull, ask).await?;
                answer.body.bytes("list of referrers", MAX_MANIFEST_LEN).await
            };
            match read.await {
                Ok(bytes) => return Ok(bytes),
                // Registries from before the specification answer a path that they do not know in many ways.
                Err(Error::NotFound { .. } | Error::Status { status: 400..=407 | 409..=424, .. }) => break,
                Err(error) => retry.after(error).await?,
            }
        }
        Ok(self.manifest_at(&repository.with_tag(&cosign::referrers_tag(image))?).await?.bytes)
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry_times(self.inner.options.tries)
    }

    /// The tries at `reference`: few at a mirror, for there is somebody else to ask.
    pub(crate) fn retry_at(&self, reference: &Reference) -> Retry {
        let options = &self.inner.options;
        let is_mirror = options.mirrors.has(reference.registry());
        self.retry_times(if is_mirror { options.tries.min(MIRROR_TRIES) } else { options.tries })
    }

    fn retry_times(&self, tries: u32) -> Retry {
        let options = &self.inner.options;
        Retry::new(Patience {
            tries,
            first: options.first_wait,
            longest: options.longest_wait,
            longest_asked: options.longest_asked_wait,
        })
    }

    /// The good answer to `ask`, tried several times.
    pub(crate) async fn ask_patiently(
        &self,
        repository: &Reference,
        access: Access,
        ask: Ask,
    ) -> Result<Answer, Error> {
        let mut retry = self.retry_at(repository);
        loop {
            match self.ask(repository, access, ask.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => retry.after(error).await?,
            }
        }
    }

    fn base(&self, registry: &Registry) -> Result<Url, Error> {
        let plain = match self.inner.options.plain_http {
            PlainHttp::Loopback => registry.is_loopback(),
            PlainHttp::Always => true,
            PlainHttp::Never => false,
        } || self.inner.options.mirrors.is_insecure(registry);
        let scheme = if plain { "http" } else { "https" };
        let text = format!("{scheme}://{}/", registry.endpoint());
        let wanted = "a registry is a host name or an address, IPv6 in brackets";
        Url::parse(&text).map_err(|_| Error::BadReference { text: registry.to_string(), wanted })
    }

    /// The address of `path` in the repository.
    pub(crate) fn url(&self, repository: &Reference, path: &str) -> Result<Url, Error> {
        let mut url = self.base(repository.registry())?;
        url.set_path(&format!("/v2/{}/{path}", repository.name()));
        Ok(url)
    }

    pub(crate) fn manifest_url(&self, reference: &Reference) -> Result<Url, Error> {
        match reference.digest() {
            Some(digest) => self.url(reference, &format!("manifests/{digest}")),
            None => self.url(reference, &format!("manifests/{}", reference.tag().unwrap_or_default())),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

fn said_digest(answer: &Answer) -> Option<Digest> {
    answer.header(CONTENT_DIGEST)?.parse().ok()
}

/// A media type without parameters.
fn essence(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
