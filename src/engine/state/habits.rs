//! Remembers servers that give no parts of their responses, so that a client of another video does not meet the same
//! trouble.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use http::{header, request};

use crate::sync::lock;

/// The servers that lately gave no part where they were asked for one, by their authority.
#[derive(Default)]
pub(crate) struct Habits(Mutex<HashMap<String, Habit>>);

struct Habit {
    /// How many requests in a row got no part.
    refusals: u32,
    last: SystemTime,
}

impl Habits {
    /// Whether the server of this request is known to give no parts.
    pub(crate) fn gives_no_parts(&self, request: &request::Parts, now: SystemTime) -> bool {
        let habits = lock(&self.0);
        habits.get(authority(request)).is_some_and(|habit| habit.refusals >= ENOUGH && habit.is_recent(now))
    }

    /// Records that the server gave a part, or none.
    pub(crate) fn note(&self, request: &request::Parts, gave_part: bool, now: SystemTime) {
        let (mut habits, authority) = (lock(&self.0), authority(request));
        if gave_part {
            habits.remove(authority);
            return;
        }
        if let Some(habit) = habits.get_mut(authority).filter(|habit| habit.is_recent(now)) {
            (habit.refusals, habit.last) = (habit.refusals.saturating_add(1), now);
            return;
        }
        if habits.len() >= MOST_SERVERS {
            habits.retain(|_, habit| habit.is_recent(now));
        }
        if habits.len() < MOST_SERVERS && authority.len() <= LONGEST_NAME {
            habits.insert(authority.to_owned(), Habit { refusals: 1, last: now });
        }
    }
}

impl Habit {
    fn is_recent(&self, now: SystemTime) -> bool {
        now.duration_since(self.last).is_ok_and(|age| age < MEMORY)
    }
}

/// The authority that a request names; empty if it names none.
fn authority(request: &request::Parts) -> &str {
    let host = || request.headers.get(header::HOST)?.to_str().ok();
    request.uri.authority().map(http::uri::Authority::as_str).or_else(host).unwrap_or_default()
}

/// How many requests in a row get no part before the cache asks the server for none.
const ENOUGH: u32 = 3;

/// How long a habit is remembered after it was last seen.
const MEMORY: Duration = Duration::from_secs(120);

/// Clients name servers, so the memory of them has a bound.
const MOST_SERVERS: usize = 1024;

const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(uri: &str) -> request::Parts {
        Request::get(uri).body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_server_that_gave_no_part_three_times_in_a_row_is_asked_for_none_for_two_minutes() {
        let (habits, begun) = (Habits::default(), SystemTime::UNIX_EPOCH);
        let after = |seconds| begun + Duration::from_secs(seconds);
        let (one, other) = (request("http://a/1"), request("http://b/1"));
        for second in 0..3 {
            assert!(!habits.gives_no_parts(&one, after(second)));
            habits.note(&request("http://a/2"), false, after(second));
        }
        assert!(habits.gives_no_parts(&one, after(2)) && habits.gives_no_parts(&one, after(121)));
        assert!(!habits.gives_no_parts(&one, after(122)) && !habits.gives_no_parts(&other, after(2)));
    }

    #[test]
    fn a_part_ends_the_memory() {
        let (habits, now) = (Habits::default(), SystemTime::UNIX_EPOCH);
        for gave_part in [false, false, true, false, false] {
            habits.note(&request("/a"), gave_part, now);
        }
        assert!(!habits.gives_no_parts(&request("/a"), now));
    }

    #[test]
    fn the_number_of_servers_is_bounded() {
        let (habits, now) = (Habits::default(), SystemTime::UNIX_EPOCH);
        for server in 0..2 * MOST_SERVERS {
            habits.note(&request(&format!("http://{server}/")), false, now);
        }
        assert_eq!(lock(&habits.0).len(), MOST_SERVERS);
        habits.note(&request("http://new/"), false, now + MEMORY);
        assert_eq!(lock(&habits.0).len(), 1, "those of long ago have made room");
    }
}
