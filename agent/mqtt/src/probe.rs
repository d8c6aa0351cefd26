//! Why a broker hangs up on CONNECT: one that speaks only MQTT 3.1.1 says so in that version's own words, which
//! the MQTT library cannot read. Asked once after such a hang-up; only the answer's first bytes matter.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::address::BrokerAddress;

const PATIENCE: Duration = Duration::from_secs(3);
/// CONNECT of MQTT 5: clean start, keep alive 10 s, no properties, client id "aimass-probe".
const CONNECT: &[u8] = b"\x10\x19\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x0caimass-probe";

/// Whether the broker answers a CONNECT of version 5 as MQTT 3.1.1 refuses one. TLS brokers and web servers are not asked.
pub(crate) async fn speaks_only_old_mqtt(at: &BrokerAddress) -> bool {
    if at.tls || at.path.is_some() {
        return false;
    }
    let ask = async {
        let mut stream = TcpStream::connect((at.host.as_str(), at.port)).await?;
        stream.write_all(CONNECT).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    matches!(tokio::time::timeout(PATIENCE, ask).await, Ok(Ok(answer)) if is_old_refusal(answer))
}

/// CONNACK, two bytes long (version 5 has at least three), return code 1: unacceptable protocol version.
fn is_old_refusal(answer: [u8; 4]) -> bool {
    answer[0] == 0x20 && answer[1] == 2 && answer[3] == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connect_packet_is_as_long_as_it_says() {
        assert_eq!(CONNECT.len(), 2 + usize::from(CONNECT[1]));
    }

    #[test]
    fn only_a_refusal_of_the_version_in_the_old_form_counts() {
        assert!(is_old_refusal([0x20, 2, 0, 1]));
        assert!(!is_old_refusal([0x20, 2, 0, 5]), "old form, other reason");
        assert!(!is_old_refusal([0x20, 3, 0, 0x84]), "version 5");
    }
}
