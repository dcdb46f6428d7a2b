import "../style.css";
import { render } from "preact";

render(<main>The app comes.</main>, document.getElementById("app")!);
