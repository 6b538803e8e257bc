//! TLS on the public port: the certificate that is shown, and its renewal while calls go on.
//!
//! The files are looked at now and then, and on SIGHUP. What does not fit together (half of a renewal) is told and
//! left alone: the certificate from before is shown until the files are whole. Connections keep what they began with.

use crate::config::Config;
use actix_web::web;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// What is wrong with the files. Each message begins with the variable.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// A file cannot be read.
    #[error("{variable}: cannot read {}: {why}", path.display())]
    Unreadable {
        /// `TLS_CERT` or `TLS_KEY`.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A file is not what it should be.
    #[error("{variable}: {} {what}", path.display())]
    Wrong {
        /// `TLS_CERT` or `TLS_KEY`.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The files of certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
}

/// What both files say together, and a print of it to know it again.
struct Shown {
    key: Arc<CertifiedKey>,
    print: [u8; 32],
}

impl TlsFiles {
    /// Those of the configuration, if it names them.
    pub fn of(config: &Config) -> Option<Self> {
        let (certificate, key) = config.server.tls_cert.as_ref().zip(config.server.tls_key.as_ref())?;
        Some(Self { certificate: certificate.into(), key: key.into() })
    }

    /// Reads both. Blocks.
    ///
    /// # Errors
    /// When one cannot be read, or they do not belong together.
    pub fn check(&self) -> Result<(), TlsFileError> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Shown, TlsFileError> {
        let text = |variable, path: &Path| {
            std::fs::read(path).map_err(|why| TlsFileError::Unreadable {
                variable,
                path: path.to_owned(),
                why,
            })
        };
        let wrong = |what| TlsFileError::Wrong { variable: "TLS_CERT", path: self.certificate.clone(), what };
        let wrong_key = |what| TlsFileError::Wrong { variable: "TLS_KEY", path: self.key.clone(), what };
        let certificate = text("TLS_CERT", &self.certificate)?;
        let key = text("TLS_KEY", &self.key)?;
        let chain = CertificateDer::pem_slice_iter(&certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| wrong("is not readable as PEM"))?;
        if chain.is_empty() {
            return Err(wrong("holds no certificate in PEM"));
        }
        let private = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| wrong_key("holds no private key in PEM that is not encrypted"))?;
        let key_and_chain = CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider())
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    wrong_key("is not the key of the first certificate in TLS_CERT")
                }
                rustls::Error::InvalidCertificate(_) => wrong("begins with something that is no certificate"),
                _ => wrong_key("holds a key of a kind that is not supported (ECDSA, RSA or Ed25519 is)"),
            })?;
        let print = Sha256::new().chain_update(&certificate).chain_update([0]).chain_update(&key).finalize();
        Ok(Shown { key: Arc::new(key_and_chain), print: print.into() })
    }
}

/// The certificate that new connections are shown.
pub struct Certificates {
    files: TlsFiles,
    shown: RwLock<Shown>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

impl Certificates {
    /// Reads the files. Blocks: for the start.
    ///
    /// # Errors
    /// When the files are no certificate and key.
    pub fn open(files: TlsFiles) -> Result<Arc<Self>, TlsFileError> {
        let shown = RwLock::new(files.read()?);
        Ok(Arc::new(Self { files, shown }))
    }

    /// TLS as the public port speaks it.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn server(self: &Arc<Self>) -> Result<rustls::ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        // Sessions are resumed by ticket: nothing to remember, whichever worker a peer comes back to.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(config)
    }

    /// Reads the files again and shows what they hold now; whether that is something else. Blocks.
    fn renew(&self) -> Result<bool, TlsFileError> {
        let new = self.files.read()?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        let changed = shown.print != new.print;
        if changed {
            *shown = new;
        }
        Ok(changed)
    }

    /// Keeps the certificate as its files are, for ever: looks at them `every` so often and on SIGHUP.
    pub async fn keep_current(self: Arc<Self>, every: Duration) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut told = String::new();
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(every) => false,
                true = hung_up(&mut hangup) => true,
            };
            let certificates = Arc::clone(&self);
            let path = self.files.certificate.display();
            match web::block(move || certificates.renew()).await {
                Ok(Ok(true)) => tracing::info!(%path, "the certificate is renewed"),
                Ok(Ok(false)) if asked => tracing::info!(%path, "the certificate is as it was"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    let error = error.to_string();
                    if asked || told != error {
                        tracing::error!(
                            error,
                            "the certificate is not renewed; the one before is still shown"
                        );
                    }
                    told = error;
                    continue;
                }
                Err(_) => return,
            }
            told.clear();
        }
    }
}

async fn hung_up(signals: &mut Option<tokio::signal::unix::Signal>) -> bool {
    match signals {
        Some(signals) => signals.recv().await.is_some(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::authority::{Authority, Issued, Validity};

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("frontdesk-cert-{:032x}", rand::random::<u128>()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn files(&self) -> TlsFiles {
            TlsFiles { certificate: self.0.join("cert.pem"), key: self.0.join("key.pem") }
        }

        fn put(&self, certificate: &str, key: &str) {
            std::fs::write(self.0.join("cert.pem"), certificate).unwrap();
            std::fs::write(self.0.join("key.pem"), key).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn issued(authority: &Authority) -> Issued {
        authority.issue(&["desk.example.com"], Validity::Current).unwrap()
    }

    fn shown(certificates: &Certificates) -> Vec<CertificateDer<'static>> {
        certificates.shown.read().unwrap().key.cert.clone()
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_variable() {
        let authority = Authority::new().unwrap();
        let (one, other) = (issued(&authority), issued(&authority));
        let folder = Folder::new();
        let text = folder.files().check().unwrap_err().to_string();
        assert!(text.starts_with("TLS_CERT: cannot read ") && text.contains("cert.pem"), "{text}");
        std::fs::write(folder.0.join("cert.pem"), &one.certificate_pem).unwrap();
        let text = folder.files().check().unwrap_err().to_string();
        assert!(text.starts_with("TLS_KEY: cannot read ") && text.contains("key.pem"), "{text}");
        let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        for (certificate, key, wanted) in [
            ("", one.key_pem.as_str(), ("TLS_CERT", "holds no certificate")),
            (
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
                &one.key_pem,
                ("TLS_CERT", "PEM"),
            ),
            (garbage, &one.key_pem, ("TLS_CERT", "no certificate")),
            (&one.certificate_pem, "", ("TLS_KEY", "holds no private key")),
            (&one.certificate_pem, &one.certificate_pem, ("TLS_KEY", "holds no private key")),
            (&one.certificate_pem, &other.key_pem, ("TLS_KEY", "is not the key of")),
        ] {
            folder.put(certificate, key);
            let text = folder.files().check().unwrap_err().to_string();
            assert!(text.starts_with(wanted.0) && text.contains(wanted.1), "{wanted:?}: {text}");
            assert!(!text.contains("BEGIN"), "{text}");
        }
        folder.put(&format!("{}{}", one.certificate_pem, authority.pem()), &one.key_pem);
        assert!(folder.files().check().is_ok());
    }

    #[test]
    fn half_of_a_renewal_is_not_shown_and_the_whole_is() {
        let authority = Authority::new().unwrap();
        let (old, new) = (issued(&authority), issued(&authority));
        let folder = Folder::new();
        folder.put(&old.certificate_pem, &old.key_pem);
        let certificates = Certificates::open(folder.files()).unwrap();
        let before = shown(&certificates);
        assert!(!certificates.renew().unwrap(), "nothing has changed");
        folder.put(&new.certificate_pem, &old.key_pem);
        assert!(certificates.renew().is_err());
        assert_eq!(shown(&certificates), before);
        folder.put(&new.certificate_pem, &new.key_pem);
        assert!(certificates.renew().unwrap());
        assert_ne!(shown(&certificates), before);
        assert!(!certificates.renew().unwrap());
    }

    #[test]
    fn nothing_of_a_key_is_shown_for_debugging() {
        let authority = Authority::new().unwrap();
        let issued = issued(&authority);
        let folder = Folder::new();
        folder.put(&issued.certificate_pem, &issued.key_pem);
        let text = format!("{:?}", Certificates::open(folder.files()).unwrap());
        assert!(text.contains("key.pem") && text.len() < 300, "{text}");
    }
}
