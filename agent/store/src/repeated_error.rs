//! A trouble that comes again and again, as the log has it: when it begins, once a minute while it lasts, and its end.
//! A full card must not be filled with lines about it.

use std::time::Duration;

/// How often a trouble that lasts is told again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    lasting: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    since: Duration,
    told: Duration,
    times: u64,
}

impl Trouble {
    /// It came, now; how often it came so far if that is worth a line.
    pub(crate) fn came(&mut self, now: Duration) -> Option<u64> {
        let first = self.lasting.is_none();
        let lasting = self.lasting.get_or_insert(Lasting { since: now, told: now, times: 0 });
        lasting.times += 1;
        let due = first || now.saturating_sub(lasting.told) >= AGAIN;
        due.then(|| {
            lasting.told = now;
            lasting.times
        })
    }

    /// It is over, if there was any: how long it lasted, and how often it came.
    pub(crate) fn over(&mut self, now: Duration) -> Option<(Duration, u64)> {
        self.lasting.take().map(|lasting| (now.saturating_sub(lasting.since), lasting.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_when_it_begins_once_a_minute_and_when_it_is_over() {
        let (mut trouble, second) = (Trouble::default(), Duration::from_secs);
        assert_eq!(trouble.over(second(1)), None);
        let told: Vec<u64> = (0..121).filter(|n| trouble.came(second(10 + n)).is_some()).collect();
        assert_eq!(told, [0, 60, 120]);
        assert_eq!(trouble.over(second(140)), Some((second(130), 121)));
        assert_eq!(trouble.over(second(150)), None);
        assert_eq!(trouble.came(second(151)), Some(1), "it began anew");
    }
}
