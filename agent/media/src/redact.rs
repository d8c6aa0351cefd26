//! Texts without the secrets that people and cameras put into addresses.
//!
//! Owner: none, pure. Invariant: rather a star too many than a password in a log.

/// Whether the text is `host:port` or `[v6]:port`.
pub(crate) fn has_port(authority: &str) -> bool {
    let port = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once("]:").map(|(_, port)| port),
        None => authority.split_once(':').map(|(_, port)| port),
    };
    port.is_some_and(|port| port.parse::<u16>().is_ok_and(|p| p > 0))
}

/// The text with everything that looks like a secret replaced by `***`: `user:password@` in addresses and the
/// values of options such as `password=`, `user-pw=`, `token=`.
pub(crate) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = next_secret(rest) {
        out.push_str(&rest[..start.0]);
        out.push_str("***");
        rest = &rest[start.1..];
    }
    out.push_str(rest);
    out
}

/// The byte range of the first secret, never empty.
fn next_secret(text: &str) -> Option<(usize, usize)> {
    let in_address = text.find("://").and_then(|at| {
        let begin = at + 3;
        let end = text[begin..].find(['/', '"', '\'']).map_or(text.len(), |n| begin + n);
        let word_end = text[begin..].find([' ', '"', '\'']).map_or(text.len(), |n| begin + n);
        // The last '@' of the word: a password may itself hold '/' or '@'.
        let at_sign = text[begin..word_end].rfind('@').map(|n| begin + n)?;
        let credentials = at_sign <= end || text[begin..end].contains(':') && !has_port(&text[begin..end]);
        (credentials && at_sign > begin && &text[begin..at_sign] != "***").then_some((begin, at_sign))
    });
    let mut from = 0;
    let mut in_option = None;
    while let Some(equals) = text[from..].find('=').map(|n| from + n) {
        let key_begin = text[..equals].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let key = text
            [key_begin.map_or(0, |n| n + text[n..].chars().next().map_or(1, char::len_utf8))..equals]
            .to_ascii_lowercase();
        let quoted = text[equals + 1..].starts_with(['"', '\'']);
        let begin = equals + 1 + usize::from(quoted);
        let stop: &[char] = if quoted { &['"', '\''] } else { &['&', ' ', '!', ';', '#', '"', '\''] };
        let end = text[begin..].find(stop).map_or(text.len(), |n| begin + n);
        if is_secret_key(&key) && end > begin && &text[begin..end] != "***" {
            in_option = Some((begin, end));
            break;
        }
        from = equals + 1;
    }
    match (in_address, in_option) {
        (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
        (a, b) => a.or(b),
    }
}

fn is_secret_key(key: &str) -> bool {
    let parts = ["pass", "pwd", "secret", "token", "auth", "credential", "apikey", "api_key", "api-key"];
    key == "pw" || key.ends_with("-pw") || key.ends_with("_pw") || parts.iter().any(|part| key.contains(part))
}
