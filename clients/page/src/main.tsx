import { render } from "preact";

import { connect } from "./client";
import { App } from "./view/app";

render(<App connect={connect} />, document.getElementById("page")!);
