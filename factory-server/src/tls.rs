//! TLS: the certificate, and a new one without a restart.
//!
//! Certificates that are renewed by themselves are written over the old ones, or a link is set to them. Both files are read
//! every few seconds, and used once they are a pair: between the two writes the old pair goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls::crypto::ring};

/// How often the files are read. Two small files: nothing beside what it saves.
const RELOAD_EVERY: Duration = Duration::from_secs(2);
/// A chain has some KiB; what is larger is no certificate.
const FILE_LEN_MAX: u64 = 1 << 20;

/// The server's end of TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

/// What keeps a certificate from being used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is too large.
    #[error("`{}` has more than {max} bytes", path.display())]
    Large {
        /// The file.
        path: PathBuf,
        /// The most there may be.
        max: u64,
    },
    /// A file is not what it should be.
    #[error("`{}` holds no {what} as PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The key is not the certificate's, or of a kind that cannot be used.
    #[error("`{}` and `{}` are no pair", cert.display(), key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
}

/// The two files as they were read.
#[derive(PartialEq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// The certificate and key in these files, which are read again when they change, as long as the process runs.
    ///
    /// # Errors
    /// What is wrong with them now. Later it is logged, and the last good pair stays.
    pub fn watch(cert: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let mut known = Files::read(&cert, &key)?;
        let tls = Self { current: Arc::new(RwLock::new(known.config(&cert, &key)?)) };
        let current = Arc::downgrade(&tls.current);
        tokio::spawn(async move {
            let mut last_error = String::new();
            loop {
                tokio::time::sleep(RELOAD_EVERY).await;
                // Nobody serves any more.
                let Some(current) = current.upgrade() else { return };
                let read = Files::read(&cert, &key);
                let loaded = match read {
                    Ok(files) if files == known => continue,
                    Ok(files) => files.config(&cert, &key).map(|config| (files, config)),
                    Err(error) => Err(error),
                };
                match loaded {
                    Ok((files, config)) => {
                        known = files;
                        *current.write().expect("nothing panics under this lock") = config;
                        last_error.clear();
                        tracing::info!("the certificate was loaded anew");
                    }
                    Err(error) => {
                        let error = crate::access::chain(&error);
                        // Once: it may stay so for long.
                        if error != last_error {
                            tracing::warn!(error, "the certificate stays as it was");
                            last_error = error;
                        }
                    }
                }
            }
        });
        Ok(tls)
    }

    /// Shakes hands with the client of `stream`.
    ///
    /// # Errors
    /// What the client got wrong.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.current.read().expect("nothing panics under this lock"));
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            let unreadable = |source| TlsError::Read { path: path.to_owned(), source };
            if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_LEN_MAX {
                return Err(TlsError::Large { path: path.to_owned(), max: FILE_LEN_MAX });
            }
            std::fs::read(path).map_err(unreadable)
        };
        Ok(Self { cert: read(cert)?, key: read(key)? })
    }

    fn config(&self, cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let no = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, what, source }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<_, _>>()
            .map_err(no(cert, "certificate"))?;
        if chain.is_empty() {
            return Err(no(cert, "certificate")(pem::Error::NoItemsFound));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(no(key, "private key"))?;
        let pair = |source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source };
        // Versions 1.2 and 1.3, as the reference.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
