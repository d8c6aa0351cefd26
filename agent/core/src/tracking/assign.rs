//! Optimal assignment of rows to columns: the Hungarian method by shortest augmenting paths
//! (Jonker and Volgenant), for rectangular tables.
//!
//! Our own seventy lines rather than a crate: those on the registry want integer weights, or a matrix library,
//! or allocate on each call. Here all memory is kept between frames.

/// A table of costs and the memory to solve it, reused from frame to frame.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    rows: usize,
    columns: usize,
    limit: f32,
    cost: Vec<f32>,
    row_price: Vec<f32>,
    column_price: Vec<f32>,
    row_of: Vec<usize>,
    came_from: Vec<usize>,
    distance: Vec<f32>,
    done: Vec<bool>,
}

/// No row: columns count from 1, row 0 stands for "free".
const FREE: usize = 0;

impl Assignment {
    /// Begins a table in which every pair is forbidden. A pair that costs `limit` or more is never made.
    pub(super) fn begin(&mut self, rows: usize, columns: usize, limit: f32) {
        (self.rows, self.columns, self.limit) = (rows, columns, limit);
        self.cost.clear();
        self.cost.resize(rows * columns, limit);
    }

    /// The price of a pair; what is no number, or not below the limit, is forbidden.
    pub(super) fn set(&mut self, row: usize, column: usize, cost: f32) {
        if cost < self.limit {
            self.cost[row * self.columns + column] = cost;
        }
    }

    /// The cheapest pairing, as `(row, column)`, where leaving a row alone costs `limit`.
    pub(super) fn solve(&mut self, pairs: &mut Vec<(usize, usize)>) {
        pairs.clear();
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        // The method wants no more rows than columns: a tall table is solved on its side.
        let tall = self.rows > self.columns;
        let (n, m) = if tall { (self.columns, self.rows) } else { (self.rows, self.columns) };
        self.row_price.clear();
        self.row_price.resize(n + 1, 0.0);
        self.column_price.clear();
        self.column_price.resize(m + 1, 0.0);
        self.row_of.clear();
        self.row_of.resize(m + 1, FREE);
        self.came_from.clear();
        self.came_from.resize(m + 1, 0);
        for row in 1..=n {
            self.place(row, m, tall);
        }
        for column in 1..=m {
            let row = self.row_of[column];
            if row == FREE {
                continue;
            }
            let (r, c) = if tall { (column - 1, row - 1) } else { (row - 1, column - 1) };
            if self.cost[r * self.columns + c] < self.limit {
                pairs.push((r, c));
            }
        }
    }

    /// Adds one row to the pairing by the shortest augmenting path.
    fn place(&mut self, row: usize, m: usize, tall: bool) {
        self.distance.clear();
        self.distance.resize(m + 1, f32::INFINITY);
        self.done.clear();
        self.done.resize(m + 1, false);
        self.row_of[0] = row;
        let mut column = 0;
        loop {
            self.done[column] = true;
            let current = self.row_of[column];
            let (mut step, mut next) = (f32::INFINITY, 0);
            for j in 1..=m {
                if self.done[j] {
                    continue;
                }
                let at = if tall {
                    (j - 1) * self.columns + current - 1
                } else {
                    (current - 1) * self.columns + j - 1
                };
                let reduced = self.cost[at] - self.row_price[current] - self.column_price[j];
                if reduced < self.distance[j] {
                    self.distance[j] = reduced;
                    self.came_from[j] = column;
                }
                if self.distance[j] < step {
                    (step, next) = (self.distance[j], j);
                }
            }
            for j in 0..=m {
                if self.done[j] {
                    self.row_price[self.row_of[j]] += step;
                    self.column_price[j] -= step;
                } else {
                    self.distance[j] -= step;
                }
            }
            column = next;
            if self.row_of[column] == FREE {
                break;
            }
        }
        while column != 0 {
            let before = self.came_from[column];
            self.row_of[column] = self.row_of[before];
            column = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn solved(table: &[Vec<f32>], limit: f32) -> Vec<(usize, usize)> {
        let (mut a, mut pairs) = (Assignment::default(), Vec::new());
        a.begin(table.len(), table[0].len(), limit);
        for (r, row) in table.iter().enumerate() {
            for (c, &cost) in row.iter().enumerate() {
                a.set(r, c, cost);
            }
        }
        a.solve(&mut pairs);
        pairs
    }

    /// What a pairing costs, rows that are left alone included.
    fn price(table: &[Vec<f32>], pairs: &[(usize, usize)], limit: f32) -> f32 {
        let paired: f32 = pairs.iter().map(|&(r, c)| table[r][c]).sum();
        paired + (table.len() - pairs.len()) as f32 * limit
    }

    fn best_by_trying_all(table: &[Vec<f32>], row: usize, taken: u32, limit: f32) -> f32 {
        let Some(costs) = table.get(row) else { return 0.0 };
        let mut best = limit + best_by_trying_all(table, row + 1, taken, limit);
        for (c, &cost) in costs.iter().enumerate() {
            if taken & (1 << c) == 0 && cost < limit {
                best = best.min(cost + best_by_trying_all(table, row + 1, taken | (1 << c), limit));
            }
        }
        best
    }

    #[test]
    fn the_cheapest_total_wins_over_the_cheapest_pair() {
        let mut pairs = solved(&[vec![0.1, 0.2], vec![0.15, 0.9]], 1.0);
        pairs.sort_unstable();
        assert_eq!(pairs, [(0, 1), (1, 0)]);
    }

    #[test]
    fn forbidden_pairs_and_numbers_that_are_none_are_never_made() {
        assert!(solved(&[vec![1.0, f32::NAN], vec![2.0, f32::INFINITY]], 1.0).is_empty());
    }

    proptest! {
        #[test]
        fn no_pairing_is_cheaper_than_the_one_found(
            rows in 1usize..6, columns in 1usize..6, values in prop::collection::vec(0.0f32..1.5, 36)
        ) {
            let table: Vec<Vec<f32>> = (0..rows).map(|r| values[r * 6..r * 6 + columns].to_vec()).collect();
            let pairs = solved(&table, 1.0);
            let mut seen = (0u32, 0u32);
            for &(r, c) in &pairs {
                prop_assert!(seen.0 & (1 << r) == 0 && seen.1 & (1 << c) == 0, "{pairs:?}");
                seen = (seen.0 | (1 << r), seen.1 | (1 << c));
            }
            let best = best_by_trying_all(&table, 0, 0, 1.0);
            prop_assert!((price(&table, &pairs, 1.0) - best).abs() < 1e-4, "{pairs:?}");
        }
    }
}
