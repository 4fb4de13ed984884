export { mount } from "../lib/static_host";
