#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn admission(exports: usize, queued: usize) -> Arc<Admission> {
    Arc::new(Admission {
        places: Places::new(exports, 2 * exports),
        max_per_key: 4,
        max_queued: queued,
        patience: Duration::from_secs(60),
    })
}

/// An export of a key that is in the queue when this returns.
async fn wait(
    admission: &Arc<Admission>,
    key: &'static str,
) -> tokio::task::JoinHandle<Result<Place>> {
    let before = admission.places.lock().queue.len();
    let entering = admission.clone();
    let task = tokio::spawn(async move { entering.enter(key, DAY).await });
    while admission.places.lock().queue.len() == before {
        tokio::task::yield_now().await;
    }
    task
}

fn in_queue(admission: &Admission) -> Vec<(u64, String)> {
    let state = admission.places.lock();
    let turns = state.queue.iter();
    turns.map(|turn| (turn.number, turn.key.clone())).collect()
}

#[tokio::test]
async fn a_place_goes_to_the_key_with_the_fewest_exports_and_then_to_who_came_first() {
    let admission = admission(3, 10);
    let mut running = Vec::new();
    for key in ["many", "many", "one"] {
        running.push(admission.enter(key, DAY).await.unwrap());
    }
    let mut turns = Vec::new();
    for key in ["many", "many", "one", "none", "none"] {
        turns.push(wait(&admission, key).await);
    }
    assert!(
        admission
            .enter("many", DAY)
            .await
            .is_err_and(|error| error.kind() == ErrorKind::RateLimited)
    );
    let mut order = Vec::new();
    for _ in 0..5 {
        let before = in_queue(&admission);
        drop(running.remove(0));
        let after = in_queue(&admission);
        let at = (0..before.len())
            .find(|&at| after.get(at) != before.get(at))
            .unwrap();
        order.push(before[at].1.clone());
        running.push(turns.remove(at).await.unwrap().unwrap());
    }
    assert_eq!(order, ["none", "many", "one", "none", "many"]);
    drop(running);
    assert_has_nothing(&admission, 3);
}

fn assert_has_nothing(admission: &Admission, free: usize) {
    let state = admission.places.lock();
    assert_eq!((state.free, state.openable), (free, 2 * free));
    assert!(state.returning.is_empty());
    let mut of_keys = state.by_key.values();
    assert!(of_keys.all(|of_key| of_key.running + of_key.waiting == 0));
    assert!(state.queue.is_empty());
}

#[tokio::test]
async fn of_keys_without_exports_the_one_that_had_least_lately_is_first() {
    let admission = admission(1, 10);
    let now = Instant::now();
    for (key, seconds, before) in [("slow", 100, 0), ("long ago", 100, 600), ("small", 5, 0)] {
        let then = now.checked_sub(Duration::from_secs(before)).unwrap();
        let mut state = admission.places.lock();
        let time = Duration::from_secs(seconds);
        state.of_key(key).had.add(time, then);
    }
    let place = admission.enter("other", DAY).await.unwrap();
    let mut turns = Vec::new();
    for key in ["slow", "small", "long ago"] {
        turns.push((key, wait(&admission, key).await));
    }
    drop(place);
    for key in ["long ago", "small", "slow"] {
        let at = turns.iter().position(|(of, _)| *of == key).unwrap();
        let (_, turn) = turns.remove(at);
        drop(turn.await.unwrap().unwrap());
    }
    assert_has_nothing(&admission, 1);
    // What was had long ago is forgotten.
    let mut state = admission.places.lock();
    let long_ago = now.checked_sub(Duration::from_secs(3_000)).unwrap();
    for of_key in state.by_key.values_mut() {
        of_key.had = Had::default();
        of_key.had.add(Duration::from_secs(100), long_ago);
    }
    state.forget_idle();
    assert!(state.by_key.is_empty());
}

#[tokio::test]
async fn of_keys_that_had_nothing_who_asks_for_little_overtakes_who_just_came_and_asks_for_much() {
    let admission = admission(1, 3);
    let place = admission.enter("other", DAY).await.unwrap();
    let mut turns = Vec::new();
    for (key, days) in [("quarter", 90), ("month", 30), ("weeks", 20)] {
        let entering = admission.clone();
        let asked = days * DAY;
        turns.push((
            key,
            tokio::spawn(async move { entering.enter(key, asked).await }),
        ));
        while admission.places.lock().queue.len() < turns.len() {
            tokio::task::yield_now().await;
        }
    }
    // Of a full queue, the one that is due last makes room.
    let entering = admission.clone();
    let hour = tokio::spawn(async move { entering.enter("hour", DAY / 24).await });
    let (_, quarter) = turns.remove(0);
    let refused = quarter.await.unwrap();
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::Unavailable));
    turns.push(("hour", hour));
    // One that asks for much is not overtaken for ever.
    {
        let mut state = admission.places.lock();
        let month = state.queue.iter_mut().find(|turn| turn.key == "month");
        month.unwrap().due -= Duration::from_secs(2);
    }
    drop(place);
    for key in ["month", "hour", "weeks"] {
        let at = turns.iter().position(|(of, _)| *of == key).unwrap();
        let (_, turn) = turns.remove(at);
        assert_eq!(turn.await.unwrap().unwrap().key, key);
    }
    assert_has_nothing(&admission, 1);
}

#[tokio::test]
async fn where_the_queue_is_full_the_one_that_would_be_last_is_refused() {
    let admission = admission(2, 2);
    let mut running = Vec::new();
    for key in ["many", "many"] {
        running.push(admission.enter(key, DAY).await.unwrap());
    }
    let one = wait(&admission, "one").await;
    let many = wait(&admission, "many").await;
    // Of a new one as of the last one in the queue, the new one is refused.
    assert!(
        admission
            .enter("many", DAY)
            .await
            .is_err_and(|error| error.retry_after().is_some())
    );
    let entering = admission.clone();
    let other = tokio::spawn(async move { entering.enter("other", DAY).await });
    let refused = many.await.unwrap();
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::Unavailable));
    drop(running);
    for turn in [one, other] {
        drop(turn.await.unwrap().unwrap());
    }
    assert_has_nothing(&admission, 2);
}

#[tokio::test]
async fn who_leaves_the_queue_or_its_place_keeps_nothing() {
    let admission = admission(1, 1);
    let place = admission.enter("a", DAY).await.unwrap();
    let waiting = wait(&admission, "b").await;
    assert!(
        admission
            .enter("c", DAY)
            .await
            .is_err_and(|error| error.kind() == ErrorKind::Unavailable)
    );
    waiting.abort();
    assert!(waiting.await.is_err());
    assert!(in_queue(&admission).is_empty());
    // One whose turn comes while it leaves gives the place back.
    let (_, turn) = admission.places.lock().wait("b", Instant::now());
    drop(turn);
    drop(place);
    assert_has_nothing(&admission, 1);
    let place = admission.enter("a", DAY).await.unwrap();
    let waiting = wait(&admission, "b").await;
    admission.close();
    assert!(waiting.await.unwrap().is_err());
    assert!(admission.enter("a", DAY).await.is_err());
    drop(place);
    assert_has_nothing(&admission, 1);
}

/// An export of those that want their place again, once it waits for that; what it has in the end.
async fn want_again(
    admission: &Arc<Admission>,
    mut place: Place,
) -> tokio::task::JoinHandle<Place> {
    let before = admission.places.lock().returning.len();
    let task = tokio::spawn(async move {
        place.take_again(Duration::from_secs(60)).await;
        place
    });
    while admission.places.lock().returning.len() == before {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn lent_places_go_to_new_exports_and_to_those_that_want_theirs_again_in_turn() {
    let admission = admission(3, 10);
    let mut places = Vec::new();
    for _ in 0..3 {
        let mut place = admission.enter("slow", DAY).await.unwrap();
        place.lend();
        // Lent twice, it is lent once.
        place.lend();
        places.push(place);
    }
    // Nobody else wants one, so the first has it back at once.
    places[0].take_again(Duration::ZERO).await;
    assert!(!places[0].is_lent() && places[1].is_lent());
    assert_eq!(admission.places.lock().free, 2);
    let (a, b) = (
        admission.enter("a", DAY).await.unwrap(),
        admission.enter("b", DAY).await.unwrap(),
    );
    // Who loses patience goes on without one.
    places[1].take_again(Duration::ZERO).await;
    assert!(places[1].is_lent());
    let wants = places.split_off(1);
    let mut again = Vec::new();
    for place in wants {
        again.push(want_again(&admission, place).await);
    }
    let new = wait(&admission, "c").await;
    drop(a);
    let first = again.remove(0).await.unwrap();
    assert!(!first.is_lent());
    assert_eq!(
        (in_queue(&admission).len(), again[0].is_finished()),
        (1, false)
    );
    drop(b);
    let new = new.await.unwrap().unwrap();
    assert!(!again[0].is_finished());
    drop(first);
    let second = again.remove(0).await.unwrap();
    assert!(!second.is_lent());
    drop((places, new, second));
    assert_has_nothing(&admission, 3);
}

#[tokio::test]
async fn open_exports_have_a_bound_whoever_lends() {
    let admission = admission(2, 10);
    let mut open = Vec::new();
    for key in ["a", "b", "c", "d"] {
        let mut place = admission.enter(key, DAY).await.unwrap();
        place.lend();
        open.push(place);
    }
    assert_eq!(admission.places.lock().free, 2);
    let waiting = wait(&admission, "e").await;
    // Those that are open are not in each other's way.
    open[0].take_again(Duration::ZERO).await;
    assert!(!open[0].is_lent() && !waiting.is_finished());
    // With a place or without: where one ends, another begins.
    drop(open.pop());
    let entered = waiting.await.unwrap().unwrap();
    assert_eq!(admission.places.lock().free, 0);
    let waiting = wait(&admission, "f").await;
    drop(entered);
    drop(waiting.await.unwrap().unwrap());
    drop(open);
    assert_has_nothing(&admission, 2);
}

#[tokio::test]
async fn who_leaves_while_it_wants_its_place_again_keeps_nothing() {
    let admission = admission(1, 10);
    let mut lent = admission.enter("a", DAY).await.unwrap();
    lent.lend();
    let place = admission.enter("b", DAY).await.unwrap();
    let task = want_again(&admission, lent).await;
    task.abort();
    assert!(task.await.is_err());
    // One whose turn comes while it leaves has its place, and gives it back.
    let mut lent = place;
    lent.lend();
    let place = admission.enter("c", DAY).await.unwrap();
    let number = admission.places.lock().number();
    let (told, turn) = oneshot::channel();
    let returning = Return { number, told };
    admission.places.lock().returning.push_back(returning);
    drop(turn);
    let returning = Returning {
        place: &mut lent,
        number,
    };
    drop(place);
    drop(returning);
    assert!(!lent.is_lent());
    drop(lent);
    assert_has_nothing(&admission, 1);
}
