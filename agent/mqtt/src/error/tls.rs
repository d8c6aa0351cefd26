//! What goes wrong with TLS. An expired certificate and a wrong clock look the same: the message says what this
//! board's clock shows and whether anybody has set it, so that people know which of the two to mend.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription as Alert, CertificateError, Error as TlsError};

use super::LinkErrorKind;

/// What the board knows when a connection fails.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    /// Whether the clock is known to be right.
    pub(crate) clock_ok: bool,
    /// What is wrong with the time of our own certificate.
    pub(crate) own_certificate: Option<CertificateError>,
}

pub(crate) fn from_io(error: &io::Error, facts: &Facts) -> (LinkErrorKind, String) {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(inner) => from_rustls(inner, facts),
        None => {
            // A broker may also just hang up over our certificate.
            if let Some(own) = facts.own_certificate.as_ref().and_then(|e| out_of_time(OURS, e, facts)) {
                return own;
            }
            let problem = format!("TLS: the peer broke off the handshake ({error}): is this its TLS port?");
            (LinkErrorKind::Tls, problem)
        }
    }
}

pub(crate) fn from_rustls(error: &TlsError, facts: &Facts) -> (LinkErrorKind, String) {
    use CertificateError as C;
    let problem = match error {
        TlsError::InvalidCertificate(certificate) => {
            if let Some(named) = out_of_time("the broker's certificate", certificate, facts) {
                return named;
            }
            match certificate {
                // A bad signature is what another CA of the same name looks like.
                C::UnknownIssuer | C::BadSignature => {
                    "the broker's certificate is signed by nobody we trust: set ca_file to the CA that signed it"
                        .into()
                }
                C::NotValidForName | C::NotValidForNameContext { .. } => {
                    "the broker's certificate is for another name: use the name that stands in it".into()
                }
                other => format!("the broker's certificate is not acceptable ({other})"),
            }
        }
        TlsError::AlertReceived(Alert::CertificateRequired) => {
            "the broker asks for a client certificate: set cert_file and key_file".into()
        }
        TlsError::AlertReceived(alert) => {
            if let Some(own) = facts.own_certificate.as_ref().and_then(|e| out_of_time(OURS, e, facts)) {
                return own;
            }
            if *alert == Alert::CertificateExpired {
                let problem = format!(
                    "TLS: the broker finds our certificate (cert_file) out of its time: {}",
                    remedy(facts, "renew it, or set the broker's clock")
                );
                return (LinkErrorKind::CertificateTime, problem);
            }
            format!("the broker refused our side of TLS ({alert:?}): check cert_file and key_file")
        }
        TlsError::InvalidMessage(_) => "the peer does not speak TLS: is this its TLS port?".into(),
        other => format!("{other}"),
    };
    (LinkErrorKind::Tls, format!("TLS: {problem}"))
}

const OURS: &str = "our certificate (cert_file)";

/// The words for a certificate whose time has passed or not come yet; `None` for other errors.
fn out_of_time(whose: &str, error: &CertificateError, facts: &Facts) -> Option<(LinkErrorKind, String)> {
    use CertificateError as C;
    let (what, remedy) = match error {
        C::Expired => ("has expired".to_owned(), remedy(facts, "renew it")),
        C::ExpiredContext { not_after, .. } => {
            (format!("has expired at {}", shown(*not_after)), remedy(facts, "renew it"))
        }
        C::NotValidYet => ("is not valid yet".to_owned(), remedy(facts, NOT_YET)),
        C::NotValidYetContext { not_before, .. } => {
            (format!("is not valid yet, not before {}", shown(*not_before)), remedy(facts, NOT_YET))
        }
        _ => return None,
    };
    Some((LinkErrorKind::CertificateTime, format!("TLS: {whose} {what}; {remedy}")))
}

const NOT_YET: &str = "wait, or have it issued anew";

fn remedy(facts: &Facts, if_clock_is_right: &str) -> String {
    let now = facts.now.strftime("%Y-%m-%dT%H:%M:%SZ");
    if facts.clock_ok {
        format!("this board's clock says {now} and is synchronised: {if_clock_is_right}")
    } else {
        format!("this board's clock says {now} and is NOT synchronised: set the clock")
    }
}

fn shown(time: UnixTime) -> String {
    let since_1970 = Duration::from_secs(time.as_secs());
    let time = Timestamp::try_from(std::time::UNIX_EPOCH + since_1970);
    time.map_or_else(|_| "a time that no clock shows".to_owned(), |t| t.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: &TlsError, clock_ok: bool, own: Option<CertificateError>) -> String {
        let now = "2026-11-24T21:00:00Z".parse().unwrap();
        from_rustls(error, &Facts { now, clock_ok, own_certificate: own }).1
    }

    fn at(text: &str) -> UnixTime {
        let time: Timestamp = text.parse().unwrap();
        UnixTime::since_unix_epoch(Duration::from_secs(time.as_second() as u64))
    }

    #[test]
    fn an_expired_certificate_is_told_with_the_clock_and_with_what_to_do() {
        let time = at("2026-11-24T21:00:00Z");
        let expired = CertificateError::ExpiredContext { time, not_after: at("2026-11-01T00:00:00Z") };
        let error = TlsError::InvalidCertificate(expired.clone());
        assert_eq!(
            said(&error, true, None),
            "TLS: the broker's certificate has expired at 2026-11-01; this board's clock says 2026-11-24T21:00:00Z and is synchronised: renew it"
        );
        assert!(said(&error, false, None).ends_with("is NOT synchronised: set the clock"));
        let early = CertificateError::NotValidYetContext { time, not_before: at("2027-01-01T00:00:00Z") };
        assert!(
            said(&TlsError::InvalidCertificate(early), true, None)
                .contains("is not valid yet, not before 2027-01-01")
        );
    }

    #[test]
    fn a_broker_that_refuses_us_while_our_certificate_has_expired_refuses_that() {
        let error = TlsError::AlertReceived(Alert::BadCertificate);
        assert!(
            said(&error, true, Some(CertificateError::Expired))
                .contains("our certificate (cert_file) has expired")
        );
        assert!(said(&error, true, None).contains("check cert_file"));
        let error = TlsError::AlertReceived(Alert::CertificateExpired);
        assert!(said(&error, false, None).contains("NOT synchronised"));
    }
}
