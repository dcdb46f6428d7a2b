package browser_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// helpers are what the expressions of tests may call. They find what a person
// finds: what is not visible is not there.
const helpers = `
const seen = (e) => e.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true});
const all = (css, within = document) => [...within.querySelectorAll(css)].filter(seen);
const says = (e, text) => (e.innerText + " " + (e.value ?? "") + " " + (e.getAttribute("aria-label") ?? "") + " " + (e.title ?? "")).includes(text);
const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const find = (css, text = "") => all(css).filter((e) => says(e, text));
`

// js evaluates an expression in the page, waits for it if it is a promise, and
// decodes what it gives.
func js[T any](w *window, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T]("(() => {"+helpers+"return ("+expression+")})()", chromedp.EvalAwaitPromise))
}

// get is js that must be good.
func get[T any](w *window, expression string) T {
	w.t.Helper()
	v, err := js[T](w, expression)
	w.must(expression, err)
	return v
}

// until waits until an expression is true. A page that is just being loaded
// has no answer, and is asked again.
func (w *window) until(what, expression string) {
	w.t.Helper()
	var last error
	eventually(w.t, w.name+": "+what, func() bool {
		ok, err := js[bool](w, "!!("+expression+")")
		var thrown *chromedp.ExceptionError
		if errors.As(err, &thrown) {
			w.t.Fatalf("%s: %s: %v", w.name, expression, err)
		}
		if w.ctx.Err() != nil {
			w.t.Fatalf("%s: the tab has ended: %v, %v", w.name, err, last)
		}
		last = err
		return err == nil && ok
	})
}

// quote writes a text as JavaScript does.
func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string can be written
	}
	return string(b)
}

// shows waits until something visible is there, with a text in it.
func (w *window) shows(css, text string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s shows %q", css, text), fmt.Sprintf("find(%s, %s).length", quote(css), quote(text)))
}

// lacks waits until nothing of the kind is there.
func (w *window) lacks(css, text string) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s does not show %q", css, text), fmt.Sprintf("!find(%s, %s).length", quote(css), quote(text)))
}

// point waits until the last one of a kind can be clicked, and says where: it
// is there, in view, at rest, and nothing lies over it.
func (w *window) point(css, text string) (x, y float64) {
	w.t.Helper()
	expression := fmt.Sprintf(`(() => {
		const e = find(%s, %s).at(-1);
		if (!e || e.disabled) return [];
		e.scrollIntoView({block: "nearest", inline: "nearest", behavior: "instant"});
		const r = e.getBoundingClientRect();
		const [x, y] = [r.x + r.width / 2, r.y + r.height / 2];
		const top = document.elementFromPoint(x, y);
		return top && (e.contains(top) || top.contains(e) && top.tagName === "LABEL") ? [x, y] : [];
	})()`, quote(css), quote(text))
	var was []float64
	eventually(w.t, fmt.Sprintf("%s: %s %q can be clicked", w.name, css, text), func() bool {
		at, err := js[[]float64](w, expression)
		ok := err == nil && len(at) == 2 && len(was) == 2 && was[0] == at[0] && was[1] == at[1]
		was = at
		return ok
	})
	return was[0], was[1]
}

// hover moves the mouse over something.
func (w *window) hover(css, text string) {
	w.t.Helper()
	x, y := w.point(css, text)
	call(w, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: x, Y: y})
}

// click clicks something with the mouse.
func (w *window) click(css, text string) {
	w.t.Helper()
	w.hover(css, text)
	x, y := w.point(css, text)
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	w.must("clicking "+css, chromedp.Do(ctx, chromedp.MouseClickXY(x, y)))
}

// types types a text, key by key, into whatever has the focus.
func (w *window) types(text string) {
	w.t.Helper()
	for _, r := range text {
		w.key(r, 0)
	}
}

// key presses and releases one key. The text of a key goes with its going
// down, as it does from a keyboard: a page that handles the key itself gets no
// text then.
func (w *window) key(r rune, held kb.Modifier) {
	w.t.Helper()
	var down input.DispatchKeyEventParams
	for _, ev := range kb.Encode(r) {
		switch {
		case ev.Type == input.DispatchKeyEventTypeKeyDown:
			down = *ev
			down.Modifiers |= int64(held)
		case ev.Type == input.DispatchKeyEventTypeChar && held&kb.ModifierCtrl == 0:
			down.Text, down.UnmodifiedText = ev.Text, ev.UnmodifiedText
		}
	}
	call(w, input.DispatchKeyEvent, down)
	up := down
	up.Type, up.Text, up.UnmodifiedText = input.DispatchKeyEventTypeKeyUp, "", ""
	call(w, input.DispatchKeyEvent, up)
}

// pastes puts a text where the focus is, at once: what no keyboard has.
func (w *window) pastes(text string) {
	w.t.Helper()
	call(w, input.InsertText, input.InsertTextParams{Text: text})
}

// keys are those that tests name.
var keys = map[string]string{
	"Enter": kb.Enter, "Escape": kb.Escape, "Tab": kb.Tab, "ArrowUp": kb.ArrowUp, "ArrowDown": kb.ArrowDown,
	"End": kb.End, "Home": kb.Home, "PageUp": kb.PageUp, "PageDown": kb.PageDown, "Backspace": kb.Backspace, "Space": " ",
}

// press presses one key, with others held down: "Enter", "Control+k".
func (w *window) press(key string) {
	w.t.Helper()
	parts := strings.Split(key, "+")
	name := parts[len(parts)-1]
	code, ok := keys[name]
	if !ok {
		code = name
	}
	var held kb.Modifier
	for _, part := range parts[:len(parts)-1] {
		held |= map[string]kb.Modifier{"Control": kb.ModifierCtrl, "Shift": kb.ModifierShift, "Alt": kb.ModifierAlt}[part]
	}
	for _, r := range code {
		w.key(r, held)
	}
}

// focused says what has the focus, as CSS matches it.
func (w *window) focused(css string) {
	w.t.Helper()
	w.until(css+" has the focus", "document.activeElement?.matches("+quote(css)+")")
}

// sayIfShown takes down from now on which of these things show, even for a
// moment; saw tells.
func (w *window) sayIfShown(css ...string) {
	w.t.Helper()
	get[bool](w, fmt.Sprintf(`(() => {
		window.__saw = new Set();
		const look = () => { for (const css of %s) if (all(css).length) window.__saw.add(css); };
		new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
		return true;
	})()`, list(css)))
}

// saw is what showed since sayIfShown. The page must not have been reloaded.
func (w *window) saw() []string {
	w.t.Helper()
	return get[[]string](w, "[...window.__saw]")
}

// listen keeps from now on what an element says, if only for a moment and as
// it fades in; hears waits for it. A machine that is busy may not look in time.
func (w *window) listen(css string) {
	w.t.Helper()
	get[bool](w, fmt.Sprintf(`(() => {
		window.__said = "";
		const e = document.querySelector(%s);
		new MutationObserver(() => { window.__said += e.textContent + " "; }).observe(e, {subtree: true, childList: true});
		return true;
	})()`, quote(css)))
}

// hears waits until the element of listen has said something.
func (w *window) hears(text string) {
	w.t.Helper()
	w.until(fmt.Sprintf("it was said: %q", text), "window.__said.includes("+quote(text)+")")
}

func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
