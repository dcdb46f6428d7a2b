package router

// fifo is a queue that gives its memory back when it is empty.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) at(i int) *T { return &q.items[q.head+i] }

func (q *fifo[T]) push(item T) {
	if q.head > 16 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, item)
}

func (q *fifo[T]) pop() T {
	var none T
	item := q.items[q.head]
	q.items[q.head] = none
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
		if cap(q.items) > 32 {
			q.items = nil
		}
	}
	return item
}

func (q *fifo[T]) clear() { q.items, q.head = nil, 0 }

// all are the items, in order. They are the queue's.
func (q *fifo[T]) all() []T { return q.items[q.head:] }
